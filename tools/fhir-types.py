#!/usr/bin/env python3
"""Writes the FHIRPath type table from the official FHIR R4 StructureDefinitions.

    tools/fhir-types.py FOLDER > src/transform/fhirpath/types/r4.txt

FOLDER holds profiles-types.json and profiles-resources.json of FHIR 4.0.1, as published in
https://hl7.org/fhir/R4/definitions.json.zip (the same content is in the package
hl7.fhir.r4.core 4.0.1). The definitions are in the public domain (CC0). The output depends on
nothing but these two files.

One line is one type: `kind name parent element...`
  kind     p primitive, c complex, b backbone (named by its path), r resource
  parent   the type it specialises, `-` for none
  element  `name=Type`; `name*=Type` repeats; `name?=A,B` is a choice (`value?` has the JSON
           members valueA, valueB); the type `@` is the backbone at this very path; `@any` stands
           for the open list of types, which the line `any A,B,...` gives
Elements that a parent already has are left out.
"""

import json
import pathlib
import sys

OPEN_CHOICE_SIZE = 40  # value[x] of an extension lists 50 types, the widest closed choice far fewer


def definitions(folder):
    for name in ("profiles-types.json", "profiles-resources.json"):
        bundle = json.loads((folder / name).read_text(encoding="utf-8"))
        for entry in bundle["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] != "StructureDefinition":
                continue
            if resource.get("derivation", "specialization") != "specialization":
                continue
            if resource["kind"] in ("primitive-type", "complex-type", "resource"):
                yield resource


def type_code(path, element_type):
    code = element_type["code"]
    if not code.startswith("http://hl7.org/fhirpath/System."):
        return code
    if path == "Resource.id":
        return "id"  # R4 gives it as string, though it is declared as id since
    for extension in element_type.get("extension", []):
        if extension["url"].endswith("/structuredefinition-fhir-type"):
            return extension.get("valueUrl", extension.get("valueUri"))
    raise ValueError(f"{path}: {code} without a FHIR type")


def main():
    lines, open_types = {}, None
    for definition in definitions(pathlib.Path(sys.argv[1])):
        name, kind = definition["type"], definition["kind"][0]
        parent = definition.get("baseDefinition", "-").rsplit("/", 1)[-1]
        elements = definition["snapshot"]["element"]
        nested = {e["path"].rsplit(".", 1)[0] for e in elements if "." in e["path"]}
        lines[name] = [kind, name, parent]
        for element in elements[1:]:
            path = element["path"]
            owner, _, member = path.rpartition(".")
            types = element.get("type", [])
            if path in nested:
                lines[path] = ["b", path, types[0]["code"]]
            if element["base"]["path"] != path or (kind == "p" and member == "value"):
                continue
            repeats = "" if element["max"] in ("0", "1") else "*"
            if "contentReference" in element:
                codes = [element["contentReference"].rsplit("#", 1)[-1]]
            elif path in nested:
                codes = ["@"]
            else:
                codes = sorted({type_code(path, t) for t in types})
            if member.endswith("[x]"):
                member, repeats = member.removesuffix("[x]"), "?"
                if len(codes) >= OPEN_CHOICE_SIZE:
                    if open_types not in (None, codes):
                        raise ValueError(f"{path}: a second open list of types")
                    open_types, codes = codes, ["@any"]
            lines[owner].append(f"{member}{repeats}={','.join(codes)}")
    print("# FHIR R4 4.0.1 (hl7.fhir.r4.core 4.0.1), written by tools/fhir-types.py")
    print("any", ",".join(open_types))
    for name in sorted(lines):
        print(*lines[name])


if __name__ == "__main__":
    main()
