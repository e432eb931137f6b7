#!/usr/bin/env python3
"""The changes of the throughput bench, and the rows that they must leave.

In: a number of keys and a size. Out: `records.ndjson` for `rowcast produce --as records`, and
`rows.csv`, one row per record in the same order. Each key comes twice, version 1 before version 2,
all shuffled; two records with keys of their own end the stream: 200,002 records for 100,000 keys.
Deterministic; nobody's data. The rows are made first and the documents of them, without a look at
the rules: what rowcast makes of a document must be the row that it was made of.
"""

import argparse
import csv
import datetime
import json
import os
import random

# The table of the bench. Types as PostgreSQL names them.
COLUMNS = {
    "id": "text", "source_resource_id": "text", "version": "bigint", "last_updated": "timestamp",
    "family": "text", "given": "text", "gender": "text", "birth_date": "date", "active": "boolean",
    "phone": "text", "city": "text", "postal_code": "text", "country": "text", "marital_status": "text",
}

# Bytes of a document as FHIR servers send it; other sizes leave elements out or add contacts.
USUAL = 2500

FAMILY = "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Nguyen Schmidt Müller " \
    "Rossi Tanaka Kowalski Ivanov Silva"
GIVEN = "Anna Ben Clara David Emma Felix Grace Hugo Ida Jan Karin Leo Mia Noah Olga Paul Rosa Sam Tina Ulf"
CITY = "Berlin Paris Austin Osaka Turin Lyon Malmö Porto Leeds Gdansk Boston Zürich"
FAMILY, GIVEN, CITY = FAMILY.split(), GIVEN.split(), CITY.split()

FIRST_DAY = datetime.date(1970, 1, 1)
FIRST_INSTANT = datetime.datetime(1970, 1, 1)
BEGIN_MS = 1_760_000_000_000
STEP_MS = 17

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"


# --- rows -------------------------------------------------------------------------------------

def row(key, number, version, place):
    """The row of a key's version: texts as PostgreSQL prints them, None for NULL. The calls of the
    generator of random numbers, and their order, are those of the workload that other sinks were
    measured with: the rows are the same."""
    rng = random.Random(number * 7 + 1)
    family = rng.choice(FAMILY) + ("-" + rng.choice(FAMILY) if version == 2 else "")
    given = rng.choice(GIVEN) + " " + rng.choice(GIVEN)
    gender = rng.choice(["male", "female", "other"])
    born = FIRST_DAY + datetime.timedelta(rng.randrange(-15000, 19000))
    active = version == 1 or rng.random() < 0.9
    phone = f"+49 30 {rng.randrange(10**7):07d}"
    city = rng.choice(CITY)
    postal_code = f"{rng.randrange(10**5):05d}"
    marital_status = rng.choice(["M", "S", "W", "D", None])
    updated = FIRST_INSTANT + datetime.timedelta(milliseconds=BEGIN_MS + place * STEP_MS)
    return [key, key, str(version), updated.isoformat(timespec="milliseconds"), family, given, gender,
            born.isoformat(), "true" if active else "false", phone, city, postal_code, "DE", marital_status]


def rows(keys):
    """All rows in the order of their records."""
    order = list(range(keys)) * 2
    random.Random(42).shuffle(order)
    seen = bytearray(keys)
    last = None
    for place, number in enumerate(order):
        seen[number] += 1
        last = row(f"{(number * 2654435761) % (1 << 32):08x}-pt-{number:06d}", number, seen[number], place)
        yield last
    for end in ("zz-end-0", "zz-end-1"):
        yield [end, end, "1", *last[3:]]


# --- documents --------------------------------------------------------------------------------

def patient(values):
    """A Patient of about 2.5 kB that holds the values of a row."""
    (key, _, version, updated, family, given, gender, born, active, phone, city, postal_code, country,
     marital_status) = values
    shown = {"Name": f"{given} <b>{family}</b>", "Gender": gender, "Birth date": born, "Phone": phone, "City": city}
    lines = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in shown.items())
    record_number = {"system": TERMINOLOGY + "v2-0203", "code": "MR", "display": "Medical Record Number"}
    position = [{"url": "latitude", "valueDecimal": 41.97}, {"url": "longitude", "valueDecimal": -72.02}]
    document = {
        "resourceType": "Patient",
        "id": key,
        "meta": {"versionId": version, "lastUpdated": updated + "Z", "profile": [US_CORE + "us-core-patient"]},
        "text": {"status": "generated",
                 "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><table><tbody>{lines}</tbody></table></div>'},
        "extension": [
            {"url": US_CORE + "us-core-race", "extension": [
                {"url": "ombCategory", "valueCoding": {
                    "system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3", "display": "White"}},
                {"url": "text", "valueString": "White"}]},
            {"url": US_CORE + "us-core-birthsex", "valueCode": gender[0].upper()},
            {"url": "http://example.org/fhir/disability-adjusted-life-years", "valueDecimal": 0.2}],
        "identifier": identifiers(values),
        "active": active == "true",
        "name": [{"use": "official", "family": family, "given": given.split(" ")},
                 {"use": "nickname", "given": [given.split(" ")[0][:2]]}],
        "telecom": [{"system": "phone", "value": phone, "use": "home"},
                    {"system": "email", "value": f"{key}@example.org"}],
        "gender": gender,
        "birthDate": born,
        "address": [{
            "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/geolocation", "extension": position}],
            "line": ["17 Example Street", "Unit 4"], "city": city, "postalCode": postal_code, "country": country}],
        "multipleBirthBoolean": False,
        "communication": [{"language": {
            "coding": [{"system": "urn:ietf:bcp:47", "code": "en-US", "display": "English"}], "text": "English"}}],
        "generalPractitioner": [{"reference": "Practitioner/p-" + key[:4]}],
        "managingOrganization": {"reference": "Organization/o-1"},
    }
    document["identifier"][1]["type"]["coding"][0] = record_number
    if marital_status is not None:
        document["maritalStatus"] = {
            "coding": [{"system": TERMINOLOGY + "v3-MaritalStatus", "code": marital_status}], "text": marital_status}
    return document


def identifiers(values):
    def of_type(code):
        return {"coding": [{"system": TERMINOLOGY + "v2-0203", "code": code}]}

    key = values[0]
    return [
        {"system": "urn:example:records", "value": key},
        {"type": of_type("MR"), "system": "http://hospital.example.org", "value": "MRN-" + key[:8]},
        {"type": of_type("SS"), "system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-11-2222"},
    ]


def contact(number):
    """About 330 bytes."""
    return {
        "relationship": [{"coding": [{"system": TERMINOLOGY + "v2-0131", "code": "C", "display": "Emergency Contact"}]}],
        "name": {"family": FAMILY[number % len(FAMILY)], "given": [GIVEN[number % len(GIVEN)]]},
        "telecom": [{"system": "phone", "value": f"+49 30 {number:07d}", "use": "mobile"}],
        "address": {"line": [f"{number} Example Street"], "city": CITY[number % len(CITY)], "country": "DE"},
        "gender": "other",
    }


# Left out below USUAL, and what a Patient of 100 bytes has: id, version, gender.
ORNAMENT = ["text", "extension", "telecom", "communication", "multipleBirthBoolean", "maritalStatus"]
LEAST = 100
SPARSE = ["id", "source_resource_id", "version", "gender"]


def of_size(values, size):
    """A document of about `size` bytes and the row that it stands for."""
    if size <= LEAST:
        document = {"resourceType": "Patient", "id": values[0], "meta": {"versionId": values[2]}, "gender": values[6]}
        return document, [value if name in SPARSE else None for name, value in zip(COLUMNS, values)]
    document = patient(values)
    if size < USUAL:
        for element in ORNAMENT:
            document.pop(element, None)
        return document, [None if name in ("phone", "marital_status") else value for name, value in zip(COLUMNS, values)]
    if size > USUAL:
        document["contact"] = [contact(number) for number in range(max(1, (size - USUAL) // CONTACT_BYTES))]
    return document, values


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


CONTACT_BYTES = len(compact(contact(1000)).encode()) + 1


# --- child tables -----------------------------------------------------------------------------

# Table -> columns beside those that rowcast manages.
CHILDREN = {
    "patient_identifier": ["identifier_system", "identifier_value", "type_code"],
    "patient_name": ["name_use", "family", "given"],
    "patient_telecom": ["contact_system", "contact_value", "contact_use"],
}


def children(values):
    """(table, columns) of a resource whose row this is, for documents of the usual size."""
    key, family, given, phone = values[0], values[4], values[5], values[9]
    for identifier, code in zip(identifiers(values), (None, "MR", "SS")):
        yield "patient_identifier", (identifier["system"], identifier["value"], code)
    yield "patient_name", ("official", family, given)
    yield "patient_name", ("nickname", None, given.split(" ")[0][:2])
    yield "patient_telecom", ("phone", phone, "home")
    yield "patient_telecom", ("email", f"{key}@example.org", None)


# --- files ------------------------------------------------------------------------------------

def write(folder, keys, size):
    """Writes the workload unless it is there. Returns its records and the bytes of their values."""
    summary = os.path.join(folder, "summary.json")
    if not os.path.exists(summary):
        os.makedirs(folder, exist_ok=True)
        records, value_bytes = 0, 0
        with open(os.path.join(folder, "records.ndjson"), "w", encoding="utf-8") as out, \
                open(os.path.join(folder, "rows.csv"), "w", encoding="utf-8", newline="") as table:
            writer = csv.writer(table)
            for values in rows(keys):
                document, kept = of_size(values, size)
                text = compact(document)
                out.write(f'{{"key":"Patient/{values[0]}","value":{text}}}\n')
                writer.writerow(["" if value is None else value for value in kept])
                records += 1
                value_bytes += len(text.encode())
        # Last, so that a broken-off run is not taken for a whole one.
        with open(summary, "w", encoding="utf-8") as out:
            json.dump({"records": records, "bytes": value_bytes}, out)
    with open(summary, encoding="utf-8") as text:
        told = json.load(text)
    return told["records"], told["bytes"]


def read_rows(folder):
    """The rows in the order of their records. No value is the empty text, so that stands for NULL."""
    with open(os.path.join(folder, "rows.csv"), encoding="utf-8", newline="") as table:
        return [[value or None for value in values] for values in csv.reader(table)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=USUAL, help="bytes of a document, about")
    parser.add_argument("--out", required=True, help="directory to write")
    options = parser.parse_args()
    records, value_bytes = write(options.out, options.keys, options.size)
    print(f"{records} records of {value_bytes // records} bytes")


if __name__ == "__main__":
    main()
