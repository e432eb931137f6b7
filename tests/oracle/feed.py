#!/usr/bin/env python3
"""Makes a hard stream of change records from FHIR resources, for `rowcast produce --as records`.

In: a directory of <Type>.ndjson.gz. Out: NDJSON of {"key", "value", "headers", "partition"}, the
value as the JSON text of a resource or null. Deterministic: the same seed, the same stream.

Every resource gets one to four versions; one in ten is deleted at the end, one in twenty deleted
and created again; every record is sent once or twice. Default: the whole stream is shuffled, and
deletes carry their version in headers. With --versionless deletes are tombstones without
anything, and the records of one key keep their order, as in a topic keyed by resource.
"""

import argparse
import datetime
import gzip
import json
import os
import random
import re
import sys
import zlib

TYPES = ["Patient", "Encounter", "Observation", "Condition", "Claim"]

# A decimal's digits must survive being read and written ("72.50" is not 72.5), so a decimal is
# carried as a marked string and unmarked in the text that is written.
MARK = "\ue000"
MARKED = re.compile(r'"\\ue000([^"]*)"')

# Texts that break careless quoting, escaping, splitting or measuring.
NASTY = [
    "O'Brien", 'Anna "Nan"', "back\\slash", "tab\there", "line\nbreak", "Zoë", "李小龍", "👩🏽‍⚕️", "NULL",
    "{a,b}", "%s; DROP TABLE patient;--", "\\N", " leading", "trailing ", "a,b|c", "ß" * 40,
]
ZONES = ["Z", "+00:00", "+02:00", "-05:30"]


def decimal(text):
    return MARK + text


def read(path, limit, seed):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [line for line in lines if line.strip()]
    if limit is not None and limit < len(texts):
        # A sample, not the first: neighbours in the file belong to one patient.
        texts = random.Random(f"{seed}/{path.rsplit('/', 1)[-1]}").sample(texts, limit)
    return [json.loads(text, parse_float=decimal) for text in texts]


def write(resource):
    return MARKED.sub(r"\1", json.dumps(resource, separators=(",", ":")))


def instant(rng, version):
    """Later for a later version of one resource, whatever the zone."""
    moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(
        days=2 * (version % 1000), seconds=rng.randrange(86400), microseconds=rng.randrange(10**6)
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + rng.choice(["", f".{moment.microsecond:06d}"[:4],
        f".{moment.microsecond:06d}"]) + rng.choice(ZONES)


def resize(rng, resource, name, alter, most=4):
    """Another number of elements in a list, some of them altered; none: the list is left out."""
    elements = resource.get(name) or []
    if not elements and name not in resource:
        return
    wanted = rng.randrange(0, most + 1)
    chosen = [json.loads(json.dumps(rng.choice(elements))) for _ in range(wanted)]
    for position, element in enumerate(chosen):
        if isinstance(element, dict):
            if "sequence" in element:
                element["sequence"] = position + 1
            if rng.random() < 0.5:
                alter(rng, element)
    resource.pop(name)
    if chosen:
        resource[name] = chosen


def alter_coding(rng, concept):
    for coding in concept.get("coding", [])[:1]:
        coding["display"] = rng.choice(NASTY)
    concept["text"] = rng.choice(NASTY)


def change_patient(rng, patient):
    for name in patient.get("name", []):
        name["family"] = rng.choice(NASTY)
        resize(rng, name, "given", lambda *_: None, most=3)
    resize(rng, patient, "telecom", lambda r, e: e.update(value=f"555-{r.randrange(10**7):07d}"))
    resize(rng, patient, "address", lambda r, e: e.update(city=r.choice(NASTY)))
    resize(rng, patient, "identifier", lambda r, e: e.update(value=f"X{r.randrange(10**6)}"))
    resize(rng, patient, "communication", lambda *_: None, most=2)
    patient["active"] = rng.random() < 0.5
    patient["gender"] = rng.choice(["male", "female", "other", "unknown"])
    patient["birthDate"] = rng.choice(["1974", "1974-03", "1974-12-25", "2000-02-29"])
    patient.pop("deceasedDateTime", None)
    patient.pop("deceasedBoolean", None)
    choice = rng.randrange(3)
    if choice == 0:
        patient["deceasedDateTime"] = instant(rng, 1)
    elif choice == 1:
        patient["deceasedBoolean"] = rng.random() < 0.5


def change_encounter(rng, encounter):
    encounter["status"] = rng.choice(["planned", "in-progress", "finished", "cancelled"])
    resize(rng, encounter, "participant", lambda r, e: e.setdefault("individual", {}).update(display=r.choice(NASTY)))
    resize(rng, encounter, "location", lambda r, e: e.setdefault("location", {}).update(display=r.choice(NASTY)))
    resize(rng, encounter, "type", alter_coding, most=2)
    resize(rng, encounter, "reasonCode", alter_coding, most=3)
    if rng.random() < 0.3:
        encounter.get("period", {}).pop("end", None)
    elif "period" in encounter:
        encounter["period"]["end"] = instant(rng, 2)


def change_observation(rng, observation):
    observation["status"] = rng.choice(["preliminary", "final", "amended", "corrected"])
    observation["issued"] = instant(rng, 3)
    for choice in [key for key in observation if key.startswith("value")]:
        del observation[choice]
    choice = rng.randrange(5)
    if choice <= 1:
        digits = rng.choice(["72.50", "0.0001", "100", "-3.10", "1e3", "123456789.123456789", "0.0", "5.00"])
        value = int(digits) if digits.isdigit() else decimal(digits)
        observation["valueQuantity"] = {"value": value, "unit": rng.choice(["mg/dL", "µmol/L", "%"])}
    elif choice == 2:
        observation["valueString"] = rng.choice(NASTY)
    elif choice == 3:
        observation["valueCodeableConcept"] = {
            "coding": [{"system": "http://snomed.info/sct", "code": str(rng.randrange(10**8)), "display": rng.choice(NASTY)}],
            "text": rng.choice(NASTY),
        }
    resize(rng, observation, "category", alter_coding, most=2)
    resize(rng, observation, "component", change_component, most=5)


def change_component(rng, component):
    if "valueQuantity" in component:
        component["valueQuantity"]["value"] = decimal(f"{rng.randrange(100, 20000) / 100:.2f}")


def change_condition(rng, condition):
    condition["clinicalStatus"] = {"coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
        "code": rng.choice(["active", "recurrence", "remission", "resolved"]),
    }]}
    alter_coding(rng, condition.get("code", {}))
    resize(rng, condition, "category", alter_coding, most=2)
    condition.pop("abatementDateTime", None)
    if rng.random() < 0.5:
        condition["abatementDateTime"] = instant(rng, 5)


def change_claim(rng, claim):
    claim["status"] = rng.choice(["active", "cancelled", "draft"])
    claim["total"] = {"value": decimal(f"{rng.randrange(10**7) / 100:.2f}"), "currency": rng.choice(["USD", "EUR"])}
    resize(rng, claim, "item", change_item, most=6)
    resize(rng, claim, "diagnosis", lambda *_: None)
    resize(rng, claim, "insurance", lambda r, e: e.setdefault("coverage", {}).update(display=r.choice(NASTY)), most=2)
    resize(rng, claim, "procedure", lambda *_: None)
    resize(rng, claim, "supportingInfo", lambda *_: None)


def change_item(rng, item):
    item["net"] = {"value": decimal(f"{rng.randrange(10**6) / 100:.2f}"), "currency": "USD"}
    item["quantity"] = {"value": rng.randrange(1, 9)}
    item["servicedDate"] = rng.choice(["2020-02-29", "2021-05", "2022"])
    for sequences in ["diagnosisSequence", "procedureSequence"]:
        item.pop(sequences, None)
        if rng.random() < 0.5:
            item[sequences] = rng.sample(range(1, 9), rng.randrange(1, 4))
    item.pop("detail", None)
    if rng.random() < 0.5:
        item["detail"] = [
            {"sequence": number, "productOrService": {"coding": [{"code": rng.choice(NASTY)}]},
             "net": {"value": decimal(f"{rng.randrange(10**4)}.{rng.randrange(10)}0"), "currency": "USD"}}
            for number in range(1, rng.randrange(2, 5))
        ]
    if "productOrService" in item:
        alter_coding(rng, item["productOrService"])


CHANGES = {
    "Patient": change_patient,
    "Encounter": change_encounter,
    "Observation": change_observation,
    "Condition": change_condition,
    "Claim": change_claim,
}


def upsert(rng, resource, version):
    stamped = dict(resource)
    stamped["meta"] = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": instant(rng, version)}
    return {"value": write(stamped), "headers": {}}


def history(rng, resource, versionless):
    """The records of one resource, oldest first, each once."""
    kind = resource["resourceType"]
    # Most servers count from 1; the numbers 9, 10, 11 tell numbers from texts.
    version = rng.choice([1, 1, 1, 8, 2**31 - 2])
    records = [upsert(rng, resource, version)]

    def another():
        nonlocal version
        version += rng.choice([1, 1, 1, 2])
        CHANGES[kind](rng, resource)
        records.append(upsert(rng, resource, version))

    for _ in range(rng.randrange(0, 4)):
        another()
    fate = rng.random()
    if fate < 0.15:
        version += 1
        headers = {} if versionless else {"rowcast.version": str(version), "rowcast.operation": "delete"}
        records.append({"value": None, "headers": headers})
        if fate < 0.05:
            for _ in range(rng.randrange(1, 3)):
                another()
    return records


def repeat(rng, records):
    """Sends about half of the records twice: an upsert again at any later time, a tombstone at once,
    since a later one would be another delete."""
    sent = []
    again = []
    for record in records:
        sent.append(record)
        if rng.random() < 0.5:
            if record["value"] is None:
                sent.append(record)
            else:
                again.append(record)
    for record in again:
        first = next(place for place, other in enumerate(sent) if other is record)
        sent.insert(rng.randrange(first + 1, len(sent) + 1), record)
    return sent


def poison(rng, key, kind, number):
    """A record that can never be written, and the cause under which it is to be found."""
    base = {"resourceType": kind, "id": key.split("/")[1], "meta": {"versionId": str(2**40)}}
    value, cause = [
        ('{"resourceType":"' + kind + '","id":', "invalid_json"),
        (write({**base, "meta": {}}), "missing_version"),
        (write({**base, "meta": {"versionId": "v7"}}), "missing_version"),
        (write({**base, "resourceType": "Patient", "birthDate": "yesterday"}), "type_mismatch"),
    ][number % 4]
    return {"value": value, "headers": {"proof.cause": cause}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--input", required=True, help="directory of <Type>.ndjson.gz")
    parser.add_argument("--out", required=True, help="NDJSON to write")
    parser.add_argument("--limit", type=int, help="resources per type, all by default")
    parser.add_argument("--copies", type=int, default=1, help="each resource under so many ids")
    parser.add_argument("--poison", type=int, default=0, help="records that can never be written, among the others")
    parser.add_argument("--versionless", action="store_true", help="tombstones without version, keys in order")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    per_key = {}
    for kind in TYPES:
        resources = read(os.path.join(options.input, f"{kind}.ndjson.gz"), options.limit, options.seed)
        for resource in resources:
            for copy in range(options.copies):
                one = json.loads(json.dumps(resource))
                if copy:
                    one["id"] = f"{one['id'][:-4]}{copy:04x}"
                per_key[f"{kind}/{one['id']}"] = history(rng, one, options.versionless)

    deletes = sum(record["value"] is None for records in per_key.values() for record in records)
    distinct = sum(map(len, per_key.values()))
    for key, records in per_key.items():
        per_key[key] = repeat(rng, records)
    keys = list(per_key)
    patients = [key for key in keys if key.startswith("Patient/")]
    for number in range(options.poison):
        # The last kind concerns a column of patients.
        key = rng.choice(patients if number % 4 == 3 else keys)
        per_key[key].insert(rng.randrange(len(per_key[key]) + 1), poison(rng, key, key.split("/")[0], number))

    # Shuffling the keys and then taking each key's records in order interleaves the keys at random
    # and keeps the order within each; without --versionless the order within is shuffled too.
    turns = [key for key, records in per_key.items() for _ in records]
    rng.shuffle(turns)
    if not options.versionless:
        for records in per_key.values():
            rng.shuffle(records)
    left = {key: iter(records) for key, records in per_key.items()}
    with open(options.out, "w", encoding="utf-8") as out:
        for key in turns:
            record = next(left[key])
            out.write(json.dumps({
                "key": key,
                "value": record["value"],
                "headers": record["headers"],
                "partition": zlib.crc32(key.encode()) % options.partitions,
            }) + "\n")
    print(f"feed: {len(turns)} records of {len(per_key)} resources: {distinct} changes of which {deletes} deletes, "
          f"{len(turns) - distinct - options.poison} sent again, {options.poison} poisonous", file=sys.stderr)


if __name__ == "__main__":
    main()
