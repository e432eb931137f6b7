#!/usr/bin/env python3
"""Writes small FHIR resources in the manner of Synthea: a directory of <Type>.ndjson.gz.

Input of feed.py where no Synthea data is at hand. Deterministic; nobody's data.
"""

import argparse
import datetime
import gzip
import json
import os
import random
import uuid

GIVEN = ["Ada", "Grace", "Edsger", "Barbara", "Tony", "Radia", "Frances", "Donald"]
FAMILY = ["Lovelace", "Hopper", "Dijkstra", "Liskov", "Hoare", "Perlman", "Allen", "Knuth"]
CITY = [("Boston", "MA"), ("Hull", "MA"), ("Lowell", "MA"), ("Salem", "MA")]
LABS = [("2345-7", "Glucose", "mg/dL"), ("2160-0", "Creatinine", "mg/dL"), ("718-7", "Hemoglobin", "g/dL")]
FINDINGS = [("40275004", "Contact dermatitis"), ("59621000", "Hypertension"), ("44054006", "Diabetes type 2")]


def concept(system, code, display):
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def instant(rng):
    moment = datetime.datetime(1990, 1, 1) + datetime.timedelta(seconds=rng.randrange(10**9))
    return moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def identity(rng):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def patient(rng):
    city, state = rng.choice(CITY)
    result = {
        "resourceType": "Patient",
        "id": identity(rng),
        "identifier": [
            {"system": "http://hospital.smarthealthit.org",
             "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
             "value": identity(rng)},
            {"system": "http://hl7.org/fhir/sid/us-ssn",
             "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "SS"}]},
             "value": f"999-{rng.randrange(100):02d}-{rng.randrange(10**4):04d}"},
        ],
        "name": [{"use": "official", "family": rng.choice(FAMILY), "given": rng.sample(GIVEN, 2), "prefix": ["Dr."]}],
        "telecom": [{"system": "phone", "value": f"555-{rng.randrange(10**7):07d}", "use": "home"}],
        "gender": rng.choice(["male", "female"]),
        "birthDate": f"{rng.randrange(1920, 2020)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
        "address": [{"line": [f"{rng.randrange(999)} Main St"], "city": city, "state": state,
                     "postalCode": "02045", "country": "US"}],
        "maritalStatus": concept("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "M", "Married"),
        "multipleBirthBoolean": False,
        "communication": [{"language": concept("urn:ietf:bcp:47", "en-US", "English")}],
    }
    if rng.random() < 0.3:
        result["name"].append({"use": "maiden", "family": rng.choice(FAMILY), "given": [rng.choice(GIVEN)]})
    if rng.random() < 0.3:
        result["deceasedDateTime"] = instant(rng)
    return result


def reference(resource):
    return {"reference": f"{resource['resourceType']}/{resource['id']}"}


def encounter(rng, subject):
    begin, end = sorted([instant(rng), instant(rng)])
    code, display = rng.choice(FINDINGS)
    result = {
        "resourceType": "Encounter",
        "id": identity(rng),
        "identifier": [{"use": "official", "system": "https://github.com/synthetichealth/synthea", "value": identity(rng)}],
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": rng.choice(["AMB", "EMER", "IMP"])},
        "type": [concept("http://snomed.info/sct", "185347001", "Encounter for problem")],
        "subject": reference(subject),
        "participant": [{
            "type": [concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "PPRF", "primary performer")],
            "period": {"start": begin, "end": end},
            "individual": {"reference": "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|9999985390",
                           "display": "Dr. " + rng.choice(FAMILY)},
        }],
        "period": {"start": begin, "end": end},
        "location": [{"location": {"reference": "Location?identifier=urn:x|1", "display": "Clinic"}}],
        "serviceProvider": {"reference": "Organization?identifier=urn:x|2", "display": "Clinic"},
    }
    if rng.random() < 0.8:
        result["reasonCode"] = [concept("http://snomed.info/sct", code, display)]
    return result


def observation(rng, subject, visit):
    code, display, unit = rng.choice(LABS)
    result = {
        "resourceType": "Observation",
        "id": identity(rng),
        "status": "final",
        "category": [concept("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "Laboratory")],
        "code": concept("http://loinc.org", code, display),
        "subject": reference(subject),
        "encounter": reference(visit),
        "effectiveDateTime": instant(rng),
        "issued": instant(rng).replace("+00:00", ".090+00:00"),
    }

    def quantity():
        return {"value": rng.randrange(10**4) / 100, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}

    kind = rng.random()
    if kind < 0.6:
        result["valueQuantity"] = quantity()
    elif kind < 0.8:
        result["valueCodeableConcept"] = concept("http://snomed.info/sct", "266919005", "Never smoked")
    else:
        result["code"] = concept("http://loinc.org", "85354-9", "Blood pressure panel")
        result["component"] = [
            {"code": concept("http://loinc.org", "8462-4", "Diastolic"), "valueQuantity": quantity()},
            {"code": concept("http://loinc.org", "8480-6", "Systolic"), "valueQuantity": quantity()},
        ]
    return result


def condition(rng, subject, visit):
    code, display = rng.choice(FINDINGS)
    begin, end = sorted([instant(rng), instant(rng)])
    result = {
        "resourceType": "Condition",
        "id": identity(rng),
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
                                           "code": "confirmed"}]},
        "category": [concept("http://terminology.hl7.org/CodeSystem/condition-category", "encounter-diagnosis", "Diagnosis")],
        "code": concept("http://snomed.info/sct", code, display),
        "subject": reference(subject),
        "encounter": reference(visit),
        "onsetDateTime": begin,
        "recordedDate": begin,
    }
    if rng.random() < 0.6:
        result["abatementDateTime"] = end
    return result


def claim(rng, subject, visit, diagnosis):
    begin, end = sorted([instant(rng), instant(rng)])
    items = [
        {"sequence": number + 1, "productOrService": concept("http://snomed.info/sct", "185345009", "Encounter for symptom")}
        for number in range(rng.randrange(1, 5))
    ]
    items[0]["encounter"] = [reference(visit)]
    return {
        "resourceType": "Claim",
        "id": identity(rng),
        "status": "active",
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/claim-type", "code": "professional"}]},
        "use": "claim",
        "patient": {**reference(subject), "display": subject["name"][0]["family"]},
        "billablePeriod": {"start": begin, "end": end},
        "created": end,
        "provider": {"reference": "Organization?identifier=urn:x|2", "display": "Clinic"},
        "priority": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/processpriority", "code": "normal"}]},
        "diagnosis": [{"sequence": 1, "diagnosisReference": reference(diagnosis)}],
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "Humana"}}],
        "item": items,
        "total": {"value": rng.randrange(10**6) / 100, "currency": "USD"},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resources", type=int, default=300, help="about so many in all")
    parser.add_argument("--out", required=True, help="directory to write")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    types = {kind: [] for kind in ["Patient", "Encounter", "Observation", "Condition", "Claim"]}
    # One patient in ten; the others share them.
    for _ in range(max(1, options.resources // 10)):
        types["Patient"].append(patient(rng))
    while sum(map(len, types.values())) < options.resources:
        subject = rng.choice(types["Patient"])
        visit = encounter(rng, subject)
        types["Encounter"].append(visit)
        types["Condition"].append(condition(rng, subject, visit))
        types["Claim"].append(claim(rng, subject, visit, types["Condition"][-1]))
        for _ in range(rng.randrange(1, 4)):
            types["Observation"].append(observation(rng, subject, visit))
    os.makedirs(options.out, exist_ok=True)
    for kind, resources in types.items():
        # No time in the gzip header: the same seed, the same bytes.
        with open(os.path.join(options.out, f"{kind}.ndjson.gz"), "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as out:
                for resource in resources:
                    out.write(json.dumps(resource, separators=(",", ":")).encode() + b"\n")


if __name__ == "__main__":
    main()
