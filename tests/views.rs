//! Views of SQL on FHIR become tables beside those of rules documents.

use std::path::Path;

use rowcast::error::{Cause, Refusal};
use rowcast::model::{
    Change, ColumnSource, ColumnType, Document, DocumentLimits, Guard, Offset, Operation, Origin,
    ResourceKey, ResourceRows, Row, TopicPartition, Value, Version,
};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::{Value as Json, json};

const FILE: &str = "views/v.json";

fn load_all(files: &[(&str, String)]) -> Result<RuleSet, Vec<String>> {
    let files: Vec<(String, String)> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    RuleSet::load(&files)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn load(view: &Json) -> Result<RuleSet, Vec<String>> {
    load_all(&[(FILE, view.to_string())])
}

fn loaded(view: &Json) -> RuleSet {
    load(view).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
}

/// The one problem of a view.
fn problem(view: &Json) -> String {
    let mut problems = load(view).expect_err("a problem");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn view(select: &Json) -> Json {
    json!({"resourceType": "ViewDefinition", "name": "v", "status": "active",
        "resource": "Patient", "select": select})
}

/// A view of patients with these columns.
fn columns(columns: &Json) -> Json {
    view(&json!([{"column": columns}]))
}

fn change(document: &str) -> Change {
    let document = Document::parse(document.as_bytes(), DocumentLimits::default()).expect("JSON");
    let text = |member| document.text(member).expect("a resource").into();
    Change {
        timestamp: None,
        resource: ResourceKey { resource_type: text("resourceType"), id: text("id") },
        operation: Operation::Upsert { version: Version::new(7).expect("positive"), document },
        origin: Origin { source: TopicPartition::new("changes", 0), offset: Offset(0), index: 0 },
    }
}

fn run(rules: &RuleSet, document: &str) -> Result<Vec<ResourceRows>, Box<Refusal>> {
    rules.transform(&change(document))
}

/// The rows of the view, without the columns that rowcast fills.
fn rows(view: &Json, document: &str) -> Vec<Row> {
    try_rows(view, document).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn try_rows(view: &Json, document: &str) -> Result<Vec<Row>, Box<Refusal>> {
    let rules = loaded(view);
    let sets = run(&rules, document)?.remove(0).row_sets.expect("the resource matches");
    let columns = &rules.catalog().roots[0].tables[1].columns;
    let own = |row: &Row| {
        let cells = columns.iter().zip(row);
        let cells = cells.filter(|(column, _)| matches!(column.source, ColumnSource::Rule { .. }));
        cells.map(|(_, value)| value.clone()).collect()
    };
    Ok(sets[1].rows.iter().map(own).collect())
}

/// The refusal of a document.
fn refused(view: &Json, document: &str) -> Box<Refusal> {
    try_rows(view, document).expect_err("a refusal")
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

const ANN: &str = r#"{"resourceType":"Patient","id":"123","active":true,"birthDate":"1974-03",
  "name":[{"use":"official","family":"Doe","given":["Ann","Bernadette"]},
          {"use":"nickname","given":["Annie"]}],
  "contact":[{"name":{"family":"Roe"}}]}"#;

#[test]
fn a_view_fills_one_table_below_the_guard_of_its_resource() {
    let names = view(&json!([
        {"column": [{"name": "key", "path": "getResourceKey()"}]},
        {"forEach": "name", "column": [{"name": "family", "path": "family"}]}
    ]));
    let rules = loaded(&names);
    let [root] = rules.catalog().roots.as_slice() else { panic!("one root") };
    assert_eq!((&*root.resource_type, root.guard), ("Patient", Guard::ResourceTable));
    assert!(!root.history);
    let shape = |table: usize| {
        let columns = root.tables[table].columns.iter();
        columns
            .map(|column| (&*column.name, column.column_type, column.optional))
            .collect::<Vec<_>>()
    };
    assert_eq!(root.tables[0].name.to_string(), "rowcast_resource");
    assert_eq!(root.tables[0].parent, None);
    assert_eq!(
        shape(0),
        [("source_resource_id", ColumnType::String, false), ("version", ColumnType::BigInt, false)]
    );
    assert_eq!((root.tables[1].name.to_string().as_str(), root.tables[1].parent), ("v", Some(0)));
    assert_eq!(
        shape(1),
        [
            ("id", ColumnType::Uuid, true),
            ("version", ColumnType::BigInt, true),
            ("source_resource_id", ColumnType::String, false),
            ("key", ColumnType::String, false),
            ("family", ColumnType::String, false)
        ]
    );

    let sets = run(&rules, ANN).expect("rows").remove(0).row_sets.expect("row sets");
    assert_eq!((sets[0].table, &sets[0].rows), (0, &vec![vec![text("123"), Value::Int(7)]]));
    assert_eq!((sets[1].table, sets[1].rows.len()), (1, 2));
    let [first, second] = sets[1].rows.as_slice() else { panic!("two rows") };
    assert_eq!(first[1..], [Value::Int(7), text("123"), text("123"), text("Doe")]);
    assert_eq!(second[1..], [Value::Int(7), text("123"), text("123"), Value::Null]);
    assert!(
        matches!((&first[0], &second[0]), (Value::Uuid(one), Value::Uuid(other)) if one != other)
    );
    let again = run(&rules, ANN).expect("rows").remove(0).row_sets.expect("row sets");
    assert_eq!(sets, again, "the same change always makes the same rows, ids included");
}

#[test]
fn a_resource_that_does_not_match_is_left_out() {
    let mut active = columns(&json!([{"name": "key", "path": "id"}]));
    active["where"] = json!([{"path": "active = true"}, {"path": "name.exists()"}]);
    let rules = loaded(&active);
    for document in [
        r#"{"resourceType":"Patient","id":"p","active":false,"name":[{}]}"#,
        r#"{"resourceType":"Patient","id":"p"}"#,
        r#"{"resourceType":"Patient","id":"p","active":true}"#,
    ] {
        assert_eq!(run(&rules, document).expect("rows").remove(0).row_sets, None, "{document}");
    }
    assert_eq!(rows(&active, ANN).len(), 1);
    assert!(run(&rules, r#"{"resourceType":"Group","id":"g"}"#).expect("rows").is_empty());
}

#[test]
fn columns_called_id_or_version_are_the_views_own() {
    let own = columns(&json!([
        {"name": "id", "path": "id", "type": "id"},
        {"name": "version", "path": "meta.versionId"}
    ]));
    let rules = loaded(&own);
    let columns = &rules.catalog().roots[0].tables[1].columns;
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["source_resource_id", "id", "version"]);
    let document = r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"nine"}}"#;
    let sets = run(&rules, document).expect("rows").remove(0).row_sets.expect("row sets");
    assert_eq!(sets[1].rows, [[text("p"), text("p"), text("nine")]]);
}

#[test]
fn the_forms_of_every_release_and_yaml_are_read() {
    let form = |resource_type: &str, definition: Option<&str>| {
        let mut view = columns(&json!([{"name": "key", "path": "id"}]));
        view["resourceType"] = json!(resource_type);
        if let Some(definition) = definition {
            view["resourceDefinition"] = json!(definition);
        }
        view
    };
    let ballot = "http://hl7.org/fhir/StructureDefinition/ViewDefinition|3.0.0-ballot";
    for view in [
        form("ViewDefinition", None),
        form("https://sql-on-fhir.org/ig/StructureDefinition/ViewDefinition", None),
        form("ViewDefinition", Some(ballot)),
        form("ViewDefinition", Some("http://hl7.org/fhir/StructureDefinition/ViewDefinition")),
    ] {
        assert_eq!(rows(&view, ANN), [[text("123")]]);
    }
    let yaml = "
resourceType: ViewDefinition
name: v
resource: Patient
select:
  - forEach: name
    column:
      - { name: use, path: use }
";
    let rules = load_all(&[("views/v.yaml", yaml.to_owned())]).expect("a view");
    let sets = run(&rules, ANN).expect("rows").remove(0).row_sets.expect("row sets");
    assert_eq!(sets[1].rows.len(), 2);

    let other = problem(&form("ViewDefinition", Some("http://example.org/View|1")));
    assert!(other.starts_with("views/v.json#/resourceDefinition: unknown value"), "{other}");
    assert!(other.contains("http://hl7.org/fhir/StructureDefinition/ViewDefinition"), "{other}");
    let misspelt = problem(&form("ViewDefiniton", None));
    assert!(misspelt.contains("did you mean `ViewDefinition`?"), "{misspelt}");
}

#[test]
fn what_a_canonical_resource_says_of_itself_is_ignored() {
    let mut view = columns(&json!([{"name": "key", "path": "id", "description": "the key",
        "tag": [{"name": "vendor/compression", "value": "zstd"}]}]));
    for (key, value) in [
        ("$schema", json!("../view.schema.json")),
        ("id", json!("x")),
        ("meta", json!({"profile": ["http://example.org/p"]})),
        ("text", json!({"status": "generated", "div": "<div/>"})),
        ("extension", json!([])),
        ("url", json!("http://example.org/v")),
        ("identifier", json!([])),
        ("version", json!("1.0")),
        ("versionAlgorithmString", json!("semver")),
        ("title", json!("A view")),
        ("experimental", json!(true)),
        ("date", json!("2026-01-01")),
        ("publisher", json!("us")),
        ("contact", json!([{"name": "me"}])),
        ("description", json!("what it is for")),
        ("useContext", json!([])),
        ("jurisdiction", json!([])),
        ("purpose", json!("why")),
        ("copyright", json!("ours")),
        ("profile", json!(["http://example.org/p"])),
        ("fhirVersion", json!(["4.0", "5.0"])),
        ("relatedArtifact", json!([])),
    ] {
        view[key] = value;
    }
    assert_eq!(rows(&view, ANN), [[text("123")]]);
}

#[test]
fn every_problem_of_every_file_is_told_with_file_and_place() {
    let rules = json!({"transformers": [{"resourceType": "Patient", "tableName": "V"}]});
    let view = json!({
        "resourceType": "ViewDefinition", "name": "v", "resource": "Patiend", "status": "done",
        "modifierExtension": [], "fhirVersion": ["5.0.0"],
        "select": [
            {"columns": [], "column": [
                {"name": "1st", "path": "id", "collection": "yes"},
                {"path": "id", "tags": []}
            ]},
            {"forEach": 1, "forEachOrNull": "name"},
            {}
        ],
        "where": [{}]
    });
    let files = [("rules.json", rules.to_string()), (FILE, view.to_string())];
    let mut problems = load_all(&files).expect_err("problems");
    for problem in &mut problems {
        *problem = problem.split(" (accepted").next().unwrap_or_default().to_owned();
    }
    problems.sort();
    assert_eq!(
        problems,
        [
            "views/v.json#/fhirVersion: rowcast knows the types of FHIR R4, and the view is for \
             none of its versions",
            "views/v.json#/modifierExtension: unknown key",
            "views/v.json#/name: the table is filled by rules.json#/transformers/0 already; a \
             table belongs to exactly one transformer",
            "views/v.json#/resource: `Patiend` is no resource type of FHIR R4; did you mean \
             `Patient`?",
            "views/v.json#/select/0/column/0/collection: must be true or false, not text",
            "views/v.json#/select/0/column/0/name: must match the regular expression \
             ^[A-Za-z][A-Za-z0-9_]*$",
            "views/v.json#/select/0/column/1/name: is required",
            "views/v.json#/select/0/column/1/tags: unknown key; did you mean `tag`?",
            "views/v.json#/select/0/columns: unknown key; did you mean `column`?",
            "views/v.json#/select/1/forEach: must be text, not a number",
            "views/v.json#/select/1: `forEach`, `forEachOrNull` and `repeat` exclude each other",
            "views/v.json#/select/1: there is nothing to select: `column`, `select` or `unionAll` \
             is needed",
            "views/v.json#/select/2: there is nothing to select: `column`, `select` or `unionAll` \
             is needed",
            "views/v.json#/status: unknown value",
            "views/v.json#/where/0/path: is required",
        ]
    );
}

#[test]
fn views_and_rules_documents_fill_their_tables_side_by_side() {
    let rules = json!({"transformers": [{"resourceType": "Patient", "tableName": "patient"}]});
    let named = |name: &str, resource: &str| {
        let mut view = columns(&json!([{"name": "key", "path": "id"}]));
        view["name"] = json!(name);
        view["resource"] = json!(resource);
        view.to_string()
    };
    let rules = load_all(&[
        ("a.json", named("a", "Patient")),
        ("rules.json", rules.to_string()),
        ("b.json", named("b", "Group")),
        ("c.json", named("c", "Patient")),
    ])
    .expect("rules");
    let roots = &rules.catalog().roots;
    let guards: Vec<_> = roots.iter().map(|root| root.guard).collect();
    let view = Guard::ResourceTable;
    assert_eq!(guards, [view, Guard::RootRow, view, view]);
    let found = run(&rules, ANN).expect("rows");
    let filled: Vec<usize> = found.iter().map(|rows| rows.root).collect();
    assert_eq!(filled, [0, 1, 3]);
}

#[test]
fn a_table_belongs_to_one_file_only() {
    let text = columns(&json!([{"name": "key", "path": "id"}])).to_string();
    let problems = load_all(&[("a.json", text.clone()), ("b.json", text)]).expect_err("twice");
    assert_eq!(
        problems,
        ["b.json#/name: the table is filled by a.json already; a table belongs to exactly one \
          transformer"]
    );
    let mut own = columns(&json!([{"name": "key", "path": "id"}]));
    own["name"] = json!("rowcast_resource");
    assert_eq!(
        problem(&own),
        "views/v.json#/name: rowcast keeps its own books in `rowcast_resource`"
    );
}

#[test]
fn a_column_has_the_type_it_is_given_or_what_its_path_yields() {
    let tag = |sql: &str| json!([{"name": "ansi/type", "value": sql}]);
    for (column, expected) in [
        (json!({"path": "active"}), ColumnType::Boolean),
        (json!({"path": "name.count()"}), ColumnType::Int),
        (json!({"path": "multipleBirth.ofType(integer)"}), ColumnType::Int),
        (json!({"path": "telecom.rank.first()"}), ColumnType::Int),
        (json!({"path": "gender"}), ColumnType::String),
        (json!({"path": "birthDate"}), ColumnType::String),
        (json!({"path": "deceased.ofType(dateTime)"}), ColumnType::String),
        (json!({"path": "meta.lastUpdated"}), ColumnType::DateTime),
        (json!({"path": "photo.data.first()"}), ColumnType::Binary),
        (json!({"path": "%rowIndex"}), ColumnType::Int),
        (json!({"path": "1.50"}), ColumnType::Decimal),
        (json!({"path": "extension('x').value"}), ColumnType::String),
        (json!({"path": "extension('x').value", "type": "decimal"}), ColumnType::Decimal),
        (json!({"path": "extension('x').value", "type": "integer64"}), ColumnType::BigInt),
        (
            json!({"path": "active", "type": "http://hl7.org/fhir/StructureDefinition/boolean"}),
            ColumnType::Boolean,
        ),
        (
            json!({"path": "name.count()", "type": "http://hl7.org/fhirpath/System.Integer"}),
            ColumnType::Int,
        ),
        (json!({"path": "name.first()", "type": "HumanName"}), ColumnType::Json),
        (json!({"path": "contact.first()", "type": "Patient.contact"}), ColumnType::Json),
        (json!({"path": "name.given", "collection": true}), ColumnType::Json),
        (json!({"path": "name", "collection": true}), ColumnType::Json),
        (json!({"path": "birthDate", "tag": tag("DATE")}), ColumnType::Date),
        (
            json!({"path": "birthDate", "type": "date", "tag": tag("varchar(10)")}),
            ColumnType::String,
        ),
        (json!({"path": "meta.lastUpdated", "tag": tag("VARCHAR")}), ColumnType::String),
        (json!({"path": "name.count()", "tag": tag("BIGINT")}), ColumnType::BigInt),
        (json!({"path": "name.given", "collection": true, "tag": tag("CLOB")}), ColumnType::String),
    ] {
        let mut named = column.clone();
        named["name"] = json!("c");
        let rules = loaded(&columns(&json!([named])));
        let found = rules.catalog().roots[0].tables[1].columns.last().expect("a column");
        assert_eq!(found.column_type, expected, "{column}");
    }
}

#[test]
fn types_that_do_not_fit_are_told_at_load() {
    for (column, at, expected) in [
        (
            json!({"path": "id", "tag": [{"name": "ansi/type", "value": "VARCHAR2(10)"}]}),
            "/tag/0/value",
            "unknown SQL type (accepted: CHARACTER(n), ",
        ),
        (
            json!({"path": "id", "tag": [{"name": "x", "value": "y"},
                {"name": "ansi/type", "value": "TEXT"}, {"name": "ansi/type", "value": "TEXT"}]}),
            "/tag/2",
            "the column has the tag `ansi/type` already",
        ),
        (
            json!({"path": "name.given", "collection": true,
                "tag": [{"name": "ansi/type", "value": "INTEGER"}]}),
            "/tag/0/value",
            "a collection is written as JSON, to a column of JSON or text, not INT",
        ),
        (
            json!({"path": "id", "type": "strin"}),
            "/type",
            "unknown type; did you mean `string`? (accepted: base64Binary, ",
        ),
        (
            json!({"path": "name.first()"}),
            "/path",
            "the path yields HumanName, which is an object: let it end at a primitive, or give \
             the column the `type` HumanName for a JSON column",
        ),
        (json!({"path": "name", "type": "string"}), "/type", "the path yields HumanName"),
        (json!({"path": "id", "type": "Address"}), "/type", "the path yields id, which is no"),
        (
            json!({"path": "name.first()", "type": "HumanName",
                "tag": [{"name": "ansi/type", "value": "TEXT"}]}),
            "/tag/0/value",
            "an object is written as JSON, to a column of JSON, not STRING",
        ),
        (json!({"path": "nam"}), "/path", "the FHIRPath expression is refused at byte 0"),
    ] {
        let mut named = column.clone();
        named["name"] = json!("c");
        let problem = problem(&columns(&json!([named])));
        let start = format!("views/v.json#/select/0/column/0{at}: {expected}");
        assert!(problem.starts_with(&start), "{problem}");
    }
}

#[test]
fn text_keeps_what_was_written() {
    let columns = columns(&json!([
        {"name": "born", "path": "birthDate"},
        {"name": "died", "path": "deceased.ofType(dateTime)"},
        {"name": "weight", "path": "extension.value.ofType(decimal)"}
    ]));
    let document = r#"{"resourceType":"Patient","id":"p","birthDate":"1974",
        "deceasedDateTime":"2020-01-02T03:04:05.678+01:00",
        "extension":[{"url":"w","valueDecimal":72.50}]}"#;
    let rows = rows(&columns, document);
    assert_eq!(rows[0][..2], [text("1974"), text("2020-01-02T03:04:05.678+01:00")]);
    let Value::Decimal(weight) = &rows[0][2] else { panic!("a decimal") };
    assert_eq!(weight.to_string(), "72.50");
}

#[test]
fn a_refused_value_names_rule_column_and_path() {
    let rule = Some("views/v.json#/select/0/column/1");
    let tag = |sql: &str| json!([{"name": "ansi/type", "value": sql}]);
    for (column, path, cause) in [
        (
            json!({"path": "name.family | name.use"}),
            "name.family | name.use",
            Cause::MultipleValues,
        ),
        (json!({"path": "name.given"}), "name.given", Cause::MultipleValues),
        (json!({"path": "birthDate", "tag": tag("DATE")}), "birthDate", Cause::TypeMismatch),
        (json!({"path": "gender", "type": "integer"}), "gender", Cause::TypeMismatch),
        (json!({"path": "extension('x').value"}), "extension('x').value", Cause::TypeMismatch),
        (
            json!({"path": "name.family", "tag": tag("VARCHAR(2)")}),
            "name.family",
            Cause::ValueTooLong,
        ),
        (json!({"path": "name.given.single()"}), "name.given.single()", Cause::ExpressionError),
    ] {
        let mut named = column.clone();
        named["name"] = json!("c");
        let view = columns(&json!([{"name": "key", "path": "id"}, named]));
        let document = r#"{"resourceType":"Patient","id":"p","birthDate":"1974-03",
            "gender":"female","extension":[{"url":"x","valueCoding":{"code":"Canary"}}],
            "name":[{"use":"official","family":"Canary","given":["Ann","B"]}]}"#;
        let refusal = refused(&view, document);
        assert_eq!(refusal.cause, cause, "{column}");
        let place = &refusal.place;
        assert_eq!(place.table.as_deref(), Some("v"));
        assert_eq!(place.column.as_deref(), Some("c"));
        assert_eq!(place.rule.as_deref(), rule);
        assert_eq!(place.path.as_deref(), Some(path));
        assert!(!format!("{refusal} {refusal:?}").contains("Canary"));
    }
}

#[test]
fn text_as_long_as_its_type_fits() {
    let tag = json!([{"name": "ansi/type", "value": "VARCHAR(3)"}]);
    let view = columns(&json!([{"name": "c", "path": "name.first().family", "tag": tag}]));
    assert_eq!(rows(&view, ANN), [[text("Doe")]]);
    assert_eq!(loaded(&view).catalog().roots[0].tables[1].columns[3].maximum_size, Some(3));
}

#[test]
fn a_collection_is_a_json_array_also_of_one_or_none() {
    let view = columns(&json!([
        {"name": "given", "path": "name.first().given", "collection": true},
        {"name": "family", "path": "name.family", "collection": true},
        {"name": "language", "path": "communication", "collection": true}
    ]));
    let json = |text: &str| Value::Json(text.to_owned());
    let expected = [json(r#"["Ann","Bernadette"]"#), json(r#"["Doe"]"#), json("[]")];
    assert_eq!(rows(&view, ANN), [expected]);
}

#[test]
fn names_of_columns_are_unique_and_usable() {
    let twice = view(&json!([
        {"column": [{"name": "a", "path": "id"}], "select": [{"column": [{"name": "A", "path": "id"}]}]}
    ]));
    assert_eq!(
        problem(&twice),
        "views/v.json#/select/0/select/0/column/0/name: the column is given twice, first by \
         /select/0/column/0"
    );
    for (name, expected) in [
        ("source_resource_id", "rowcast fills `source_resource_id`; leave the column out"),
        ("Version", "only case tells this from the managed column: write `version`"),
        ("parent_reference", "rowcast keeps `parent_reference` for itself; take another name"),
        (&*"x".repeat(64), "the name has 64 bytes; databases take at most 63"),
    ] {
        let problem = problem(&columns(&json!([{"name": name, "path": "id"}])));
        assert_eq!(problem, format!("views/v.json#/select/0/column/0/name: {expected}"));
    }
}

#[test]
fn branches_of_a_union_have_the_same_columns_of_the_same_types() {
    let union = |columns: &Json| {
        view(&json!([{"unionAll": [
            {"column": [{"name": "a", "path": "id"}, {"name": "b", "path": "'x'"}]},
            {"column": columns}
        ]}]))
    };
    let order = problem(&union(&json!([{"name": "b", "path": "id"}, {"name": "a", "path": "id"}])));
    assert_eq!(
        order,
        "views/v.json#/select/0/unionAll/1: the branches of a union have the same columns in the \
         same order; this one has `b`, `a`, the first has `a`, `b`"
    );
    let types = problem(&union(&json!([{"name": "a", "path": "id"}, {"name": "b", "path": "1"}])));
    assert_eq!(
        types,
        "views/v.json#/select/0/unionAll/1/column/1: the column is INT here and STRING in the \
         first branch of the union; give both the same `type`"
    );
    let same = union(&json!([{"name": "a", "path": "gender"}, {"name": "b", "path": "'y'"}]));
    assert_eq!(rows(&same, ANN), [[text("123"), text("x")], [Value::Null, text("y")]]);
}

#[test]
fn constants_are_checked_once_where_they_are_written() {
    let with = |constants: &Json| {
        let mut view = columns(&json!([{"name": "c", "path": "name.where(use = %use).family"}]));
        view["constant"] = constants.clone();
        view
    };
    assert_eq!(
        rows(&with(&json!([{"name": "use", "valueCode": "official"}])), ANN),
        [[text("Doe")]]
    );
    let unknown = problem(&with(&json!([{"name": "uses", "valueCode": "official"}])));
    assert!(unknown.ends_with("there is no variable `%use`; did you mean `%uses`"), "{unknown}");
    for (constant, at, expected) in [
        (json!({"name": "use"}), "", "a value is needed (accepted: valueBase64Binary, "),
        (
            json!({"name": "use", "valueCode": "a", "valueId": "b"}),
            "",
            "a constant has one value; `valueCode` and `valueId` are two",
        ),
        (json!({"name": "use", "valueDate": "2024-13"}), "/valueDate", "this is no date"),
        (json!({"name": "use", "valueTime": "canary"}), "/valueTime", "this is no time"),
        (
            json!({"name": "use", "valueDecimal": 1.234_567_890_123_456_7}),
            "/valueDecimal",
            "a decimal is read to 15 digits",
        ),
        (json!({"name": "use", "valuePositiveInt": 0}), "/valuePositiveInt", "must be at least 1"),
        (json!({"name": "use", "valueInteger": "1"}), "/valueInteger", "must be a whole number"),
        (
            json!({"name": "use", "valueCode": "a", "valueCoding": {}}),
            "/valueCoding",
            "unknown key",
        ),
    ] {
        let problem = problem(&with(&json!([constant])));
        assert!(
            problem.starts_with(&format!("views/v.json#/constant/0{at}: {expected}")),
            "{problem}"
        );
    }
    for taken in ["use", "rowIndex", "resource"] {
        let constants =
            json!([{"name": "use", "valueCode": "a"}, {"name": taken, "valueCode": "b"}]);
        assert_eq!(
            problem(&with(&constants)),
            format!(
                "views/v.json#/constant/1/name: `%{taken}` has a meaning already; take another name"
            )
        );
    }
}

#[test]
fn variables_of_views_are_unknown_to_rules_documents() {
    let rules = json!({"transformers": [{"resourceType": "Patient", "tableName": "patient",
        "columns": [{"columnName": "c", "columnType": "INT", "fhirPath": "%rowIndex"}]}]});
    let problems = load(&rules).expect_err("a problem");
    assert!(problems[0].contains("there is no variable `%rowIndex`"), "{problems:?}");
}

#[test]
fn a_condition_that_is_no_boolean_is_refused() {
    let with = |path: &str| {
        let mut view = columns(&json!([{"name": "c", "path": "id"}]));
        view["where"] = json!([{"path": path}]);
        view
    };
    assert_eq!(
        problem(&with("name.family")),
        "views/v.json#/where/0/path: a condition yields a boolean, and this yields string"
    );
    for path in ["extension('x').value", "true | false"] {
        let document = r#"{"resourceType":"Patient","id":"p",
            "extension":[{"url":"x","valueString":"true"}]}"#;
        let refusal = refused(&with(path), document);
        assert_eq!(refusal.cause, Cause::ExpressionError);
        assert_eq!(refusal.place.rule.as_deref(), Some("views/v.json#/where/0/path"));
        assert_eq!(refusal.place.path.as_deref(), Some(path));
    }
}

#[test]
fn a_row_of_nothing_has_nulls_in_every_column_but_the_index() {
    let view = view(&json!([
        {"column": [{"name": "key", "path": "id"}]},
        {"forEachOrNull": "link", "column": [
            {"name": "number", "path": "%rowIndex"},
            {"name": "constant", "path": "'x'"},
            {"name": "types", "path": "type", "collection": true}
         ], "select": [{"forEach": "other", "column": [{"name": "other", "path": "reference"}]}]}
    ]));
    let nulls = [Value::Null, Value::Null, Value::Null];
    assert_eq!(rows(&view, ANN), [[&[text("123"), Value::Int(0)][..], &nulls].concat()]);
}

#[test]
fn a_path_of_repeat_is_judged_by_every_type_that_it_may_meet() {
    let with = |paths: &Json| {
        let mut view =
            view(&json!([{"repeat": paths, "column": [{"name": "l", "path": "linkId"}]}]));
        view["resource"] = json!("QuestionnaireResponse");
        view
    };
    let document = r#"{"resourceType":"QuestionnaireResponse","id":"q","item":[
        {"linkId":"1","answer":[{"item":[{"linkId":"1.1"}]}]},{"linkId":"2"}]}"#;
    let links = [[text("1")], [text("1.1")], [text("2")]];
    assert_eq!(rows(&with(&json!(["item", "answer.item"])), document), links);
    let misspelt = problem(&with(&json!(["item", "answr.item"])));
    assert!(misspelt.starts_with("views/v.json#/select/0/repeat/1: "), "{misspelt}");
    assert!(misspelt.contains("did you mean `answer`"), "{misspelt}");
    let mut column = with(&json!(["item"]));
    column["select"][0]["column"][0]["path"] = json!("linkid");
    assert!(problem(&column).contains("did you mean `linkId`"));
    assert!(problem(&with(&json!([]))).ends_with("/select/0/repeat: there is no path to follow"));
}

#[test]
fn what_would_repeat_without_end_is_refused() {
    let endless = view(&json!([{"repeat": ["$this"], "column": [{"name": "c", "path": "'x'"}]}]));
    let refusal = refused(&endless, ANN);
    assert_eq!(refusal.cause, Cause::ExpressionError);
    assert_eq!(refusal.place.rule.as_deref(), Some("views/v.json#/select/0/repeat/0"));
    let explosive = view(&json!([
        {"repeat": ["$this.select($this | 1 | 2)"], "column": [{"name": "c", "path": "'x'"}]}
    ]));
    assert_eq!(refused(&explosive, ANN).cause, Cause::ExpressionError);
}

#[test]
fn the_rows_and_bytes_that_a_document_may_make_are_bounded() {
    let selects: Vec<Json> = (0..3)
        .map(|number| {
            json!({"forEach": "name", "column": [{"name": format!("c{number}"), "path": "family"}]})
        })
        .collect();
    let cross = view(&Json::Array(selects));
    let patient = |names: usize, family: &str| {
        let names = vec![json!({"family": family}); names];
        json!({"resourceType": "Patient", "id": "p", "name": names}).to_string()
    };
    assert_eq!(rows(&cross, &patient(20, "x")).len(), 8_000);
    assert_eq!(refused(&cross, &patient(47, "x")).cause, Cause::ExpressionError);
    assert_eq!(refused(&cross, &patient(1_000, "x")).cause, Cause::ExpressionError);
    let long = "x".repeat(100_000);
    assert_eq!(refused(&cross, &patient(20, &long)).cause, Cause::ExpressionError);
}

/// A patient with a language of so many letters and so many small names.
fn long_patient(letters: usize, names: usize) -> String {
    let (names, language) = (vec![json!({"family": "x"}); names], "x".repeat(letters));
    json!({"resourceType": "Patient", "id": "p", "language": language, "name": names}).to_string()
}

#[test]
fn the_work_that_all_rows_of_a_document_take_together_is_bounded() {
    // text is work by its length, and quickly done
    let column = json!([{"name": "c", "path": "(%resource.language + 'x').exists()"}]);
    let made = view(&json!([{"forEach": "name", "column": column}]));
    assert_eq!(rows(&made, &long_patient(1_000_000, 50)).len(), 50);
    let refusal = refused(&made, &long_patient(1_000_000, 4_000));
    assert_eq!(refusal.cause, Cause::ExpressionError);
    assert!(refusal.to_string().contains("all rows together"), "{refusal}");
}

#[test]
fn the_text_that_one_collection_repeats_is_bounded() {
    let path = "name.select(%resource.language)";
    let repeated = view(&json!([{"column": [{"name": "c", "path": path, "collection": true}]}]));
    assert_eq!(rows(&repeated, &long_patient(2, 1_000)).len(), 1);
    let refusal = refused(&repeated, &long_patient(1 << 20, 1_000));
    assert_eq!(refusal.cause, Cause::ExpressionError);
    assert!(refusal.to_string().contains("bytes"), "{refusal}");
}

#[test]
fn the_shipped_view_says_who_lives_where() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("topology/views/patient_demographics.json");
    let shipped = std::fs::read_to_string(path).expect("the view is part of the project");
    let view: Json = serde_json::from_str(&shipped).expect("JSON");
    let document = r#"{"resourceType":"Patient","id":"p","gender":"female","birthDate":"1974",
        "name":[{"family":"Maiden","use":"maiden"},
                {"use":"official","family":"Doe","given":["Ann","B"]}],
        "address":[{"postalCode":"8001","city":"Zürich"},{"city":"Bern"}]}"#;
    let person = [
        text("p"),
        text("female"),
        text("1974"),
        text("Doe"),
        Value::Json(r#"["Ann","B"]"#.into()),
    ];
    let homes =
        [[Value::Int(0), text("8001"), text("Zürich")], [Value::Int(1), Value::Null, text("Bern")]];
    let expected: Vec<Row> = homes.iter().map(|home| [&person[..], &home[..]].concat()).collect();
    assert_eq!(rows(&view, document), expected);
}

/// The text between two fences, the n-th of the page.
fn example(page: &str, number: usize) -> &str {
    let block = page.split("```json\n").nth(number + 1).expect("a fenced example");
    block.split("```").next().expect("its end")
}

#[test]
fn the_example_of_the_documentation_makes_the_rows_that_it_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/views.md");
    let page = std::fs::read_to_string(path).expect("the page is part of the project");
    let rules = load_all(&[(FILE, example(&page, 0).to_owned())]).expect("a view");
    let table = &rules.catalog().roots[0].tables[1];
    let shown: Vec<bool> = table.columns.iter().map(|column| !column.optional).collect();
    let names = table.columns.iter().map(|column| column.name.to_string());
    let sets = run(&rules, example(&page, 1)).expect("rows").remove(0).row_sets.expect("sets");
    let cells = sets[1].rows.iter().map(|row| {
        row.iter().map(|value| match value {
            Value::Text(text) => text.to_string(),
            Value::Int(number) => number.to_string(),
            _ => "NULL".to_owned(),
        })
    });
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells = cells.zip(&shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell);
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut expected = line(&mut names.into_iter());
    expected.push_str(&"|---".repeat(shown.iter().filter(|shown| **shown).count()));
    expected.push_str("|\n");
    for mut row in cells {
        expected.push_str(&line(&mut row));
    }
    assert!(page.contains(&expected), "{expected}");
}
