"""What each resource becomes in topology/rules, written by hand.

In: a resource as Python reads its JSON, decimals as Decimal. Out: rows with their children, raw
values by column. The rules files are not read here: a rule that changes must be changed here too,
by someone who thought about it.
"""

import collections

# parent: the table that `parent_reference` points to. columns: name -> the rules' column type.
Table = collections.namedtuple("Table", "name parent columns")
Row = collections.namedtuple("Row", "table columns children")


def table(name, parent=None, **columns):
    return name, Table(name, parent, columns)


CODING = {"code_system": "STRING", "code": "STRING", "display": "STRING"}

VALUE = {
    "value_quantity": "DECIMAL", "value_comparator": "STRING", "value_unit": "STRING", "value_unit_code": "STRING",
    "value_code_system": "STRING", "value_code": "STRING", "value_code_text": "STRING", "value_string": "STRING",
    "value_boolean": "BOOLEAN", "value_integer": "INT", "value_at": "DATETIME", "value_time": "TIME",
    "absent_reason": "STRING",
}

# Parents before their children.
TABLES = dict([
    table("patient", id="STRING", last_updated="DATETIME", active="BOOLEAN", gender="STRING", birth_date="DATE",
          deceased="BOOLEAN", deceased_at="DATETIME", family_name="STRING", given_names="STRING",
          medical_record_number="STRING", birth_sex="STRING", race="STRING", ethnicity="STRING",
          marital_status="STRING", multiple_birth="BOOLEAN", birth_order="INT", language="STRING",
          general_practitioner_id="STRING", managing_organization_id="STRING", profiles="JSON"),
    table("patient_name", "patient", name_use="STRING", family="STRING", given="STRING", prefix="STRING",
          suffix="STRING", name_text="STRING", valid_from="DATETIME", valid_to="DATETIME"),
    table("patient_identifier", "patient", identifier_use="STRING", identifier_system="STRING",
          identifier_value="STRING", type_code="STRING", type_text="STRING", valid_from="DATETIME", valid_to="DATETIME"),
    table("patient_address", "patient", address_use="STRING", address_type="STRING", lines="STRING", city="STRING",
          district="STRING", state="STRING", postal_code="STRING", country="STRING", latitude="DECIMAL",
          longitude="DECIMAL"),
    table("patient_telecom", "patient", contact_system="STRING", contact_value="STRING", contact_use="STRING",
          contact_rank="INT"),
    table("encounter", id="STRING", last_updated="DATETIME", status="STRING", class_code="STRING", type_code="STRING",
          type_text="STRING", patient_id="STRING", period_start="DATETIME", period_end="DATETIME",
          service_provider="STRING", service_provider_name="STRING", discharge_disposition="STRING"),
    table("encounter_participant", "encounter", type_code="STRING", individual="STRING", individual_name="STRING",
          period_start="DATETIME", period_end="DATETIME"),
    table("encounter_reason", "encounter", **CODING),
    table("encounter_location", "encounter", location="STRING", location_name="STRING", status="STRING",
          period_start="DATETIME", period_end="DATETIME"),
    table("observation", id="STRING", last_updated="DATETIME", status="STRING", category="STRING",
          code_system="STRING", code="STRING", code_text="STRING", codings="JSON", patient_id="STRING",
          encounter_id="STRING", effective_at="DATETIME", effective_start="DATETIME", effective_end="DATETIME",
          issued="DATETIME", interpretation="STRING", **VALUE),
    table("observation_component", "observation", code_system="STRING", code="STRING", code_text="STRING", **VALUE),
    table("observation_category", "observation", **CODING),
    table("condition", id="STRING", last_updated="DATETIME", clinical_status="STRING", verification_status="STRING",
          is_active="BOOLEAN", severity="STRING", category="STRING", code_system="STRING", code="STRING",
          code_text="STRING", patient_id="STRING", encounter_id="STRING", onset_at="DATETIME", onset_age="DECIMAL",
          abatement_at="DATETIME", recorded_at="DATETIME", recorded_on="DATE"),
    table("condition_code", "condition", **CODING),
    table("condition_body_site", "condition", **CODING),
    table("claim", last_updated="DATETIME", status="STRING", claim_use="STRING", type_code="STRING",
          patient_id="STRING", prescription_id="STRING", provider="STRING", provider_name="STRING", facility="STRING",
          priority="STRING", billable_start="DATETIME", billable_end="DATETIME", created_at="DATETIME",
          created_on="DATE", total="DECIMAL", currency="STRING", item_count="INT"),
    table("claim_diagnosis", "claim", sequence="INT", condition_id="STRING", code="STRING"),
    table("claim_procedure", "claim", sequence="INT", performed_at="DATETIME", procedure_id="STRING", code="STRING"),
    table("claim_insurance", "claim", sequence="INT", focal="BOOLEAN", coverage_name="STRING"),
    table("claim_item", "claim", sequence="INT", product_system="STRING", product_code="STRING", product_text="STRING",
          served_at="DATE", quantity="DECIMAL", unit_price="DECIMAL", net="DECIMAL", currency="STRING"),
    table("claim_item_encounter", "claim_item", encounter_id="STRING"),
    table("claim_item_diagnosis", "claim_item", diagnosis_sequence="INT"),
    table("claim_item_procedure", "claim_item", procedure_sequence="INT"),
    table("claim_item_detail", "claim_item", sequence="INT", product_code="STRING", net="DECIMAL"),
])


# --- reading resources ------------------------------------------------------------------------

def at(element, *names):
    """The value at a path of single elements, or None."""
    for name in names:
        if element is None:
            return None
        element = element.get(name)
    return element


def first(values):
    return next((value for value in values if value is not None), None)


def joined(values):
    return " ".join(values) if values else None


def codings(*concepts):
    return [coding for concept in concepts if concept for coding in concept.get("coding", [])]


def first_code(*concepts):
    return first(coding.get("code") for coding in codings(*concepts))


def first_system(*concepts):
    return first(coding.get("system") for coding in codings(*concepts))


def key(reference, kind):
    """The id in a reference to that type; a conditional reference has none."""
    text = at(reference, "reference") or ""
    return text[len(kind) + 1:] if text.startswith(kind + "/") else None


def extension(element, url):
    return first(one for one in element.get("extension", []) if one["url"] == url) or {}


def coding_rows(name, concepts):
    return [
        Row(name, {"code_system": one.get("system"), "code": one.get("code"), "display": one.get("display")}, [])
        for one in codings(*concepts)
    ]


def value_columns(element):
    concept = element.get("valueCodeableConcept")
    return {
        "value_quantity": at(element, "valueQuantity", "value"),
        "value_comparator": at(element, "valueQuantity", "comparator"),
        "value_unit": at(element, "valueQuantity", "unit"),
        "value_unit_code": at(element, "valueQuantity", "code"),
        "value_code_system": first_system(concept),
        "value_code": first_code(concept),
        "value_code_text": at(concept, "text"),
        "value_string": element.get("valueString"),
        "value_boolean": element.get("valueBoolean"),
        "value_integer": element.get("valueInteger"),
        "value_at": element.get("valueDateTime"),
        "value_time": element.get("valueTime"),
        "absent_reason": first_code(element.get("dataAbsentReason")),
    }


# --- one function for each resource type ------------------------------------------------------

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
GEOLOCATION = "http://hl7.org/fhir/StructureDefinition/geolocation"


def patient(resource):
    official = [name for name in resource.get("name", []) if name.get("use") == "official"]
    record_numbers = [
        identifier.get("value") for identifier in resource.get("identifier", [])
        if [coding.get("code") for coding in codings(identifier.get("type"))] == ["MR"]
    ]
    children = []
    for name in resource.get("name", []):
        children.append(Row("patient_name", {
            "name_use": name.get("use"),
            "family": name.get("family"),
            "given": joined(name.get("given")),
            "prefix": joined(name.get("prefix")),
            "suffix": joined(name.get("suffix")),
            "name_text": name.get("text"),
            "valid_from": at(name, "period", "start"),
            "valid_to": at(name, "period", "end"),
        }, []))
    for identifier in resource.get("identifier", []):
        children.append(Row("patient_identifier", {
            "identifier_use": identifier.get("use"),
            "identifier_system": identifier.get("system"),
            "identifier_value": identifier.get("value"),
            "type_code": first_code(identifier.get("type")),
            "type_text": at(identifier, "type", "text"),
            "valid_from": at(identifier, "period", "start"),
            "valid_to": at(identifier, "period", "end"),
        }, []))
    for address in resource.get("address", []):
        position = extension(address, GEOLOCATION)
        children.append(Row("patient_address", {
            "address_use": address.get("use"),
            "address_type": address.get("type"),
            "lines": joined(address.get("line")),
            "city": address.get("city"),
            "district": address.get("district"),
            "state": address.get("state"),
            "postal_code": address.get("postalCode"),
            "country": address.get("country"),
            "latitude": extension(position, "latitude").get("valueDecimal"),
            "longitude": extension(position, "longitude").get("valueDecimal"),
        }, []))
    for contact in resource.get("telecom", []):
        children.append(Row("patient_telecom", {
            "contact_system": contact.get("system"),
            "contact_value": contact.get("value"),
            "contact_use": contact.get("use"),
            "contact_rank": contact.get("rank"),
        }, []))
    return [Row("patient", {
        "id": resource["id"],
        "last_updated": resource["meta"]["lastUpdated"],
        "active": resource.get("active"),
        "gender": resource.get("gender"),
        "birth_date": resource.get("birthDate"),
        "deceased": resource.get("deceasedBoolean", "deceasedDateTime" in resource),
        "deceased_at": resource.get("deceasedDateTime"),
        "family_name": first(name.get("family") for name in official),
        "given_names": joined(official[0].get("given")) if official else None,
        "medical_record_number": first(record_numbers),
        "birth_sex": extension(resource, US_CORE + "us-core-birthsex").get("valueCode"),
        "race": extension(extension(resource, US_CORE + "us-core-race"), "text").get("valueString"),
        "ethnicity": extension(extension(resource, US_CORE + "us-core-ethnicity"), "text").get("valueString"),
        "marital_status": first_code(resource.get("maritalStatus")),
        "multiple_birth": resource.get("multipleBirthBoolean"),
        "birth_order": resource.get("multipleBirthInteger"),
        "language": first_code(*[spoken.get("language") for spoken in resource.get("communication", [])]),
        "general_practitioner_id": first(key(one, "Practitioner") for one in resource.get("generalPractitioner", [])),
        "managing_organization_id": key(resource.get("managingOrganization"), "Organization"),
        "profiles": at(resource, "meta", "profile"),
    }, children)]


def encounter(resource):
    children = []
    for participant in resource.get("participant", []):
        children.append(Row("encounter_participant", {
            "type_code": first_code(*participant.get("type", [])),
            "individual": at(participant, "individual", "reference"),
            "individual_name": at(participant, "individual", "display"),
            "period_start": at(participant, "period", "start"),
            "period_end": at(participant, "period", "end"),
        }, []))
    children += coding_rows("encounter_reason", resource.get("reasonCode", []))
    for place in resource.get("location", []):
        children.append(Row("encounter_location", {
            "location": at(place, "location", "reference"),
            "location_name": at(place, "location", "display"),
            "status": place.get("status"),
            "period_start": at(place, "period", "start"),
            "period_end": at(place, "period", "end"),
        }, []))
    kinds = resource.get("type", [])
    return [Row("encounter", {
        "id": resource["id"],
        "last_updated": resource["meta"]["lastUpdated"],
        "status": resource.get("status"),
        "class_code": at(resource, "class", "code"),
        "type_code": first_code(*kinds),
        "type_text": first(kind.get("text") for kind in kinds),
        "patient_id": key(resource.get("subject"), "Patient"),
        "period_start": at(resource, "period", "start"),
        "period_end": at(resource, "period", "end"),
        "service_provider": at(resource, "serviceProvider", "reference"),
        "service_provider_name": at(resource, "serviceProvider", "display"),
        "discharge_disposition": first_code(at(resource, "hospitalization", "dischargeDisposition")),
    }, children)]


def observation(resource):
    code = resource.get("code")
    categories = resource.get("category", [])
    children = []
    for component in resource.get("component", []):
        children.append(Row("observation_component", {
            "code_system": first_system(component.get("code")),
            "code": first_code(component.get("code")),
            "code_text": at(component, "code", "text"),
            **value_columns(component),
        }, []))
    children += coding_rows("observation_category", categories)
    return [Row("observation", {
        "id": resource["id"],
        "last_updated": resource["meta"]["lastUpdated"],
        "status": resource.get("status"),
        "category": first_code(*categories),
        "code_system": first_system(code),
        "code": first_code(code),
        "code_text": first([at(code, "text"), *[coding.get("display") for coding in codings(code)]]),
        "codings": codings(code) or None,
        "patient_id": key(resource.get("subject"), "Patient"),
        "encounter_id": key(resource.get("encounter"), "Encounter"),
        "effective_at": resource.get("effectiveDateTime"),
        "effective_start": at(resource, "effectivePeriod", "start"),
        "effective_end": at(resource, "effectivePeriod", "end"),
        "issued": resource.get("issued"),
        "interpretation": first_code(*resource.get("interpretation", [])),
        **value_columns(resource),
    }, children)]


def condition(resource):
    code = resource.get("code")
    clinical = [coding.get("code") for coding in codings(resource.get("clinicalStatus"))]
    categories = codings(*resource.get("category", []))
    return [Row("condition", {
        "id": resource["id"],
        "last_updated": resource["meta"]["lastUpdated"],
        "clinical_status": first(clinical),
        "verification_status": first_code(resource.get("verificationStatus")),
        "is_active": any(status in ("active", "recurrence", "relapse") for status in clinical),
        "severity": first_code(resource.get("severity")),
        "category": joined([coding["code"] for coding in categories if "code" in coding]),
        "code_system": first_system(code),
        "code": first_code(code),
        "code_text": at(code, "text"),
        "patient_id": key(resource.get("subject"), "Patient"),
        "encounter_id": key(resource.get("encounter"), "Encounter"),
        "onset_at": resource.get("onsetDateTime"),
        "onset_age": at(resource, "onsetAge", "value"),
        "abatement_at": resource.get("abatementDateTime"),
        "recorded_at": resource.get("recordedDate"),
        "recorded_on": resource.get("recordedDate", "")[:10] or None,
    }, coding_rows("condition_code", [code]) + coding_rows("condition_body_site", resource.get("bodySite", [])))]


def claim_item(item):
    children = [Row("claim_item_encounter", {"encounter_id": key(one, "Encounter")}, [])
                for one in item.get("encounter", [])]
    children += [Row("claim_item_diagnosis", {"diagnosis_sequence": one}, []) for one in item.get("diagnosisSequence", [])]
    children += [Row("claim_item_procedure", {"procedure_sequence": one}, []) for one in item.get("procedureSequence", [])]
    for detail in item.get("detail", []):
        children.append(Row("claim_item_detail", {
            "sequence": detail.get("sequence"),
            "product_code": first_code(detail.get("productOrService")),
            "net": at(detail, "net", "value"),
        }, []))
    return Row("claim_item", {
        "sequence": item.get("sequence"),
        "product_system": first_system(item.get("productOrService")),
        "product_code": first_code(item.get("productOrService")),
        "product_text": at(item, "productOrService", "text"),
        "served_at": item.get("servicedDate"),
        "quantity": at(item, "quantity", "value"),
        "unit_price": at(item, "unitPrice", "value"),
        "net": at(item, "net", "value"),
        "currency": at(item, "net", "currency"),
    }, children)


def claim(resource):
    children = []
    for diagnosis in resource.get("diagnosis", []):
        children.append(Row("claim_diagnosis", {
            "sequence": diagnosis.get("sequence"),
            "condition_id": key(diagnosis.get("diagnosisReference"), "Condition"),
            "code": first_code(diagnosis.get("diagnosisCodeableConcept")),
        }, []))
    for procedure in resource.get("procedure", []):
        children.append(Row("claim_procedure", {
            "sequence": procedure.get("sequence"),
            "performed_at": procedure.get("date"),
            "procedure_id": key(procedure.get("procedureReference"), "Procedure"),
            "code": first_code(procedure.get("procedureCodeableConcept")),
        }, []))
    for insurance in resource.get("insurance", []):
        children.append(Row("claim_insurance", {
            "sequence": insurance.get("sequence"),
            "focal": insurance.get("focal"),
            "coverage_name": at(insurance, "coverage", "display"),
        }, []))
    children += [claim_item(item) for item in resource.get("item", [])]
    return [Row("claim", {
        "last_updated": resource["meta"]["lastUpdated"],
        "status": resource.get("status"),
        "claim_use": resource.get("use"),
        "type_code": first_code(resource.get("type")),
        "patient_id": key(resource.get("patient"), "Patient"),
        "prescription_id": key(resource.get("prescription"), "MedicationRequest"),
        "provider": at(resource, "provider", "reference"),
        "provider_name": at(resource, "provider", "display"),
        "facility": at(resource, "facility", "reference"),
        "priority": first_code(resource.get("priority")),
        "billable_start": at(resource, "billablePeriod", "start"),
        "billable_end": at(resource, "billablePeriod", "end"),
        "created_at": resource.get("created"),
        "created_on": resource.get("created", "")[:10] or None,
        "total": at(resource, "total", "value"),
        "currency": at(resource, "total", "currency"),
        "item_count": len(resource.get("item", [])),
    }, children)]


ROWS = {
    "Patient": patient,
    "Encounter": encounter,
    "Observation": observation,
    "Condition": condition,
    "Claim": claim,
}
