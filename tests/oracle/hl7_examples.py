#!/usr/bin/env python3
"""Feeds HL7's official R4 examples and accounts for each of them afterwards.

feed:    NDJSON of resources -> records for `rowcast produce --as records`, key `Type/id`, version 1
         in a header, the text of each resource as it is.
account: the same resources, the tables, the dead letters and the last scrape of /metrics ->
         written + filtered + refused, which must be all; every table's number of rows, counted in
         the resources by hand; every refusal, grouped. Exit code 1 if anything is not accounted
         for, or if anything else is refused than what UNFIT says.

It shares no code with rowcast and does not look at the rules files.
"""

import argparse
import collections
import gzip
import json
import re
import sys

from oracle import read_postgres, read_sqlite

# Root tables, by type.
ROOTS = {
    "Patient": "patient",
    "Encounter": "encounter",
    "Observation": "observation",
    "Condition": "condition",
    "Claim": "claim",
    "MedicationRequest": "medication_request",
    "Questionnaire": "questionnaire",
    "ValueSet": "value_set",
    "StructureDefinition": "structure_definition",
    "Bundle": "bundle",
}

# Examples that are no stored resources, by type and cause: one SearchParameter has an id of 67
# characters, FHIR allows 64.
UNFIT = {("SearchParameter", "missing_id"): 1}

# Child tables: where their rows come from. `name*` is name at any depth, equal elements once: so
# FHIRPath defines `repeat`.
CHILDREN = {
    "patient_name": "Patient.name",
    "patient_identifier": "Patient.identifier",
    "patient_address": "Patient.address",
    "patient_telecom": "Patient.telecom",
    "encounter_participant": "Encounter.participant",
    "encounter_reason": "Encounter.reasonCode.coding",
    "encounter_location": "Encounter.location",
    "observation_component": "Observation.component",
    "observation_category": "Observation.category.coding",
    "condition_code": "Condition.code.coding",
    "condition_body_site": "Condition.bodySite.coding",
    "claim_diagnosis": "Claim.diagnosis",
    "claim_procedure": "Claim.procedure",
    "claim_insurance": "Claim.insurance",
    "claim_item": "Claim.item",
    "claim_item_encounter": "Claim.item.encounter",
    "claim_item_diagnosis": "Claim.item.diagnosisSequence",
    "claim_item_procedure": "Claim.item.procedureSequence",
    "claim_item_detail": "Claim.item.detail",
    "medication_request_identifier": "MedicationRequest.identifier",
    "medication_request_reason": "MedicationRequest.reasonCode.coding",
    "medication_request_reason_reference": "MedicationRequest.reasonReference",
    "medication_request_dosage": "MedicationRequest.dosageInstruction",
    "medication_request_dose": "MedicationRequest.dosageInstruction.doseAndRate",
    "medication_request_dosage_event": "MedicationRequest.dosageInstruction.timing.event",
    "medication_request_dosage_time": "MedicationRequest.dosageInstruction.timing.repeat.timeOfDay",
    "medication_request_dosage_instruction": "MedicationRequest.dosageInstruction.additionalInstruction",
    "questionnaire_identifier": "Questionnaire.identifier",
    "questionnaire_code": "Questionnaire.code",
    "questionnaire_item": "Questionnaire.item*",
    "questionnaire_item_child": "Questionnaire.item*.item",
    "questionnaire_item_code": "Questionnaire.item*.code",
    "questionnaire_item_enable_when": "Questionnaire.item*.enableWhen",
    "questionnaire_item_option": "Questionnaire.item*.answerOption",
    "questionnaire_item_initial": "Questionnaire.item*.initial",
    "value_set_identifier": "ValueSet.identifier",
    "value_set_include": "ValueSet.compose.include",
    "value_set_include_concept": "ValueSet.compose.include.concept",
    "value_set_include_designation": "ValueSet.compose.include.concept.designation",
    "value_set_include_filter": "ValueSet.compose.include.filter",
    "value_set_include_value_set": "ValueSet.compose.include.valueSet",
    "value_set_exclude": "ValueSet.compose.exclude",
    "value_set_exclude_concept": "ValueSet.compose.exclude.concept",
    "value_set_exclude_designation": "ValueSet.compose.exclude.concept.designation",
    "value_set_exclude_filter": "ValueSet.compose.exclude.filter",
    "value_set_exclude_value_set": "ValueSet.compose.exclude.valueSet",
    "value_set_expansion": "ValueSet.expansion.contains*",
    "structure_definition_identifier": "StructureDefinition.identifier",
    "structure_definition_context": "StructureDefinition.context",
    "structure_definition_mapping": "StructureDefinition.mapping",
    "structure_definition_differential": "StructureDefinition.differential.element",
    "structure_definition_differential_type": "StructureDefinition.differential.element.type",
    "structure_definition_differential_constraint": "StructureDefinition.differential.element.constraint",
    "structure_definition_differential_discriminator": "StructureDefinition.differential.element.slicing.discriminator",
    "structure_definition_differential_mapping": "StructureDefinition.differential.element.mapping",
    "structure_definition_snapshot": "StructureDefinition.snapshot.element",
    "structure_definition_snapshot_type": "StructureDefinition.snapshot.element.type",
    "structure_definition_snapshot_constraint": "StructureDefinition.snapshot.element.constraint",
    "structure_definition_snapshot_discriminator": "StructureDefinition.snapshot.element.slicing.discriminator",
    "structure_definition_snapshot_mapping": "StructureDefinition.snapshot.element.mapping",
    "bundle_link": "Bundle.link",
    "bundle_entry": "Bundle.entry",
    "bundle_entry_link": "Bundle.entry.link",
}


def texts(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip("\n")


def step(elements, name):
    found = []
    for element in elements:
        value = element.get(name)
        found.extend(value if isinstance(value, list) else [] if value is None else [value])
    return found


def elements_at(resource, path):
    elements = [resource]
    for name in path.split(".")[1:]:
        if name.endswith("*"):
            found, level = [], step(elements, name[:-1])
            while level:
                level = [one for place, one in enumerate(level) if one not in found + level[:place]]
                found.extend(level)
                level = step(level, name[:-1])
            elements = found
        else:
            elements = step(elements, name)
    return elements


def feed(options):
    with open(options.out, "w", encoding="utf-8") as out:
        for text in texts(options.input):
            resource = json.loads(text)
            out.write(json.dumps({
                "key": f"{resource['resourceType']}/{resource.get('id', '')}",
                "value": text,
                "headers": {"rowcast.version": "1"},
            }) + "\n")


def settled(path):
    """outcome -> records, as the last scrape says."""
    with open(path, encoding="utf-8") as lines:
        found = (re.match(r'rowcast_records_settled_total\{outcome="(\w+)"\} (\d+)', line) for line in lines)
        return {match[1]: int(match[2]) for match in found if match}


def account(options):
    wanted = collections.Counter()
    resources = [json.loads(text) for text in texts(options.input)]
    fed = collections.Counter(resource["resourceType"] for resource in resources)
    with open(options.letters, encoding="utf-8") as lines:
        letters = [json.loads(line) for line in lines if line.strip()]
    with open(options.records, encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    wrong = []

    postgres = options.database.startswith(("postgres://", "postgresql://"))
    read = read_postgres if postgres else read_sqlite
    rows = {table: list(read(options.database, table)) for table in [*ROOTS.values(), *CHILDREN]}
    written = sum(len(rows[table]) for table in ROOTS.values())
    refused_types = collections.Counter(letter["resource_type"] for letter in letters)
    filtered = sum(number - refused_types[kind] for kind, number in fed.items() if kind not in ROOTS)

    # What was written must be whole: as many rows below as the resource has elements.
    there = {kind: {row.get("source_resource_id", row["id"]) for row in rows[table]} for kind, table in ROOTS.items()}
    for resource in resources:
        kind = resource["resourceType"]
        if resource.get("id") in there.get(kind, ()):
            for table, path in CHILDREN.items():
                if path.startswith(kind + "."):
                    wanted[table] += len(elements_at(resource, path))
    for table in CHILDREN:
        if len(rows[table]) != wanted[table]:
            wrong.append(f"{table}: {len(rows[table])} rows instead of {wanted[table]}")

    print(f"examples: {total} records of {len(fed)} types")
    for kind, table in ROOTS.items():
        children = sum(number for name, number in wanted.items() if CHILDREN[name].startswith(kind + "."))
        print(f"examples:   {kind}: {fed[kind]} fed, {len(rows[table])} written with {children} child rows, "
              f"{refused_types[kind]} refused")
        if fed[kind] != len(rows[table]) + refused_types[kind]:
            wrong.append(f"{kind}: {fed[kind]} fed, {len(rows[table])} written, {refused_types[kind]} refused")
    print(f"examples: written {written} + filtered {filtered} + refused {len(letters)} = "
          f"{written + filtered + len(letters)} of {total}")
    groups = collections.Counter(
        (letter["cause"], letter["rule"] or "-", letter["path"] or "-", letter["message"]) for letter in letters)
    for (cause, rule, path, message), number in groups.most_common():
        print(f"examples:   refused {number}: {cause}: {rule}: {path}: {message}")

    if written + filtered + len(letters) != total:
        wrong.append("the outcomes do not add up")
    told = settled(options.metrics)
    print("examples: /metrics says: " + ", ".join(f"{name} {number}" for name, number in sorted(told.items())))
    mine = {"written": written, "filtered": filtered, "dead_lettered": len(letters), "stale": 0}
    if {name: told.get(name) for name in mine} != mine:
        wrong.append(f"/metrics says otherwise than the tables and the letters: {told}, {mine}")
    unfit = collections.Counter((letter["resource_type"], letter["cause"]) for letter in letters)
    if dict(unfit) != UNFIT:
        wrong.append(f"refused are {dict(unfit)} instead of {UNFIT}")
    for message in wrong:
        print(f"examples: WRONG: {message}")
    sys.exit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("feed")
    command.add_argument("--input", required=True, help="NDJSON of resources, .gz or not")
    command.add_argument("--out", required=True, help="records to write")
    command.set_defaults(run=feed)
    command = commands.add_parser("account")
    command.add_argument("--input", required=True, help="what was fed")
    command.add_argument("--records", required=True, help="what feed wrote")
    command.add_argument("--letters", required=True, help="output of `rowcast dead-letters list --output json`")
    command.add_argument("--metrics", required=True, help="the last scrape")
    command.add_argument("--database", required=True, help="postgres:// url, or a SQLite file")
    command.set_defaults(run=account)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
