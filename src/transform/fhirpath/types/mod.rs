//! What FHIR R4 says about types and elements: which elements a type has, their types, and which
//! JSON members a choice element may be written as.
//!
//! In: `r4.txt`, written by `tools/fhir-types.py` from the official StructureDefinitions and read
//! once. Out: [`FhirType`] handles. It knows nothing of expressions or documents.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// Types are few and their names are fixed, so a handle is a number and its name is static. The
/// kind is in the highest bits, because navigation asks for it at every step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FhirType(u16);

/// The bits of a handle below the kind.
const NUMBER_BITS: u32 = 14;

/// What kind of type it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeKind {
    /// Its JSON form is a literal, with `_name` beside it for id and extensions.
    Primitive,
    /// A datatype with elements.
    Complex,
    /// A nested element of a type, named by its path (`Patient.contact`).
    Backbone,
    /// A resource or one of its abstract bases.
    Resource,
}

/// An element of a type.
#[derive(Debug)]
pub(super) struct Element {
    /// Name in paths, and in JSON unless it is a choice.
    pub(super) name: &'static str,
    /// Types it may have; more than one only for a choice.
    pub(super) types: Vec<FhirType>,
    /// The members a choice element may be written as, one for each of `types`.
    pub(super) members: Option<Vec<ChoiceMember>>,
}

/// One way to write a choice element.
#[derive(Debug)]
pub(super) struct ChoiceMember {
    /// `valueQuantity`.
    pub(super) name: String,
    /// The type that this member says the value has.
    pub(super) fhir_type: FhirType,
}

struct Definition {
    name: &'static str,
    parent: Option<FhirType>,
    /// Its own elements, then those of its parents; sorted by name.
    elements: Vec<&'static Element>,
}

struct Table {
    types: Vec<Definition>,
    by_name: HashMap<&'static str, FhirType>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("r4.txt")));

impl FhirType {
    /// The type called so: `Patient`, `HumanName`, `code`, or a nested element by its path
    /// (`Patient.contact`).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TABLE.by_name.get(name).copied()
    }

    /// Its name in the FHIR specification.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// Is its JSON form a literal?
    #[must_use]
    pub const fn is_primitive(self) -> bool {
        matches!(self.kind(), TypeKind::Primitive)
    }

    /// Is this type `other` or one that specialises it?
    #[must_use]
    pub fn is_a(self, other: Self) -> bool {
        let mut current = Some(self);
        while let Some(candidate) = current {
            if candidate == other {
                return true;
            }
            current = candidate.definition().parent;
        }
        false
    }

    /// The type that it specialises.
    pub(super) fn parent(self) -> Option<Self> {
        self.definition().parent
    }

    pub(super) const fn kind(self) -> TypeKind {
        match self.0 >> NUMBER_BITS {
            0 => TypeKind::Primitive,
            1 => TypeKind::Complex,
            2 => TypeKind::Backbone,
            _ => TypeKind::Resource,
        }
    }

    /// Says nothing about the elements an instance has: `Resource`, `DomainResource`, `Element`,
    /// `BackboneElement`.
    pub(super) fn is_abstract(self) -> bool {
        matches!(self.name(), "Resource" | "DomainResource" | "Element" | "BackboneElement")
    }

    pub(super) fn element(self, name: &str) -> Option<&'static Element> {
        let elements = &self.definition().elements;
        let at = elements.binary_search_by(|element| element.name.cmp(name)).ok()?;
        elements.get(at).copied()
    }

    /// All elements, parents' included, sorted by name.
    pub(super) fn elements(self) -> &'static [&'static Element] {
        &self.definition().elements
    }

    /// Whether any type has an element of this name.
    #[must_use]
    pub fn any_has(element: &str) -> bool {
        TABLE
            .types
            .iter()
            .any(|definition| definition.elements.iter().any(|candidate| candidate.name == element))
    }

    /// All types that specialise it, itself included.
    pub(super) fn specialisations(self) -> impl Iterator<Item = Self> {
        let all = (0..TABLE.types.len()).filter_map(|number| u16::try_from(number).ok());
        all.map(Self).filter(move |candidate| candidate.is_a(self))
    }

    /// All names, for suggestions.
    pub(super) fn all_names() -> impl Iterator<Item = &'static str> {
        TABLE.types.iter().map(|definition| definition.name)
    }

    /// The type a choice member's suffix names: `Quantity` of `valueQuantity`, `String` of
    /// `valueString`.
    pub(super) fn of_choice_suffix(suffix: &str) -> Option<Self> {
        let open = FhirType::named("Extension")?.element("value")?;
        open.types.iter().copied().find(|candidate| capitalised(candidate.name()) == suffix)
    }

    const fn new(number: u16, kind: TypeKind) -> Self {
        assert!(number >> NUMBER_BITS == 0, "FHIR has some hundred types");
        Self((kind as u16) << NUMBER_BITS | number)
    }

    /// Its place in the table.
    fn number(self) -> usize {
        usize::from(self.0 & ((1 << NUMBER_BITS) - 1))
    }

    fn definition(self) -> &'static Definition {
        TABLE.types.get(self.number()).expect("a handle is made with its definition")
    }
}

impl fmt::Debug for FhirType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

/// Reads the table. The text is part of the program, so a fault in it is a fault of the build
/// and the first test to touch it says so.
fn read(text: &'static str) -> Table {
    let mut open_choice = "";
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("any"), Some(list)) => open_choice = list,
            (Some(kind), Some(name)) => {
                let parent = words.next().expect("a type line names its parent");
                lines.push((kind, name, parent, words));
            }
            _ => {}
        }
    }
    let by_name: HashMap<&'static str, FhirType> = lines
        .iter()
        .zip(0_u16..)
        .map(|((kind, name, _, _), number)| {
            let kind = match *kind {
                "p" => TypeKind::Primitive,
                "c" => TypeKind::Complex,
                "b" => TypeKind::Backbone,
                _ => TypeKind::Resource,
            };
            (*name, FhirType::new(number, kind))
        })
        .collect();
    let handle = |name: &str| *by_name.get(name).expect("the table names only its own types");

    let mut types: Vec<Definition> = Vec::with_capacity(lines.len());
    for (_, name, parent, words) in lines {
        let elements = words.map(|word| {
            let (left, right) = word.split_once('=').expect("an element is written name=type");
            let (element, is_choice) = match left.strip_suffix('?') {
                Some(element) => (element, true),
                None => (left.trim_end_matches('*'), false),
            };
            let names: Vec<&'static str> = match right {
                "@" => vec![nested_name(&by_name, name, element)],
                "@any" => open_choice.split(',').collect(),
                list => list.split(',').collect(),
            };
            let types: Vec<FhirType> = names.iter().map(|name| handle(name)).collect();
            // Lives as long as the table, which is for ever.
            &*Box::leak(Box::new(Element {
                name: element,
                members: is_choice.then(|| choice_members(element, &names, &types)),
                types,
            }))
        });
        types.push(Definition {
            name,
            parent: by_name.get(parent).copied(),
            elements: elements.collect(),
        });
    }
    let inherited: Vec<Vec<&'static Element>> =
        types.iter().map(|definition| with_inherited(definition, &types)).collect();
    for (definition, elements) in types.iter_mut().zip(inherited) {
        definition.elements = elements;
    }
    Table { types, by_name }
}

/// The static name of the backbone element `element` of the type `owner`.
fn nested_name(
    by_name: &HashMap<&'static str, FhirType>,
    owner: &str,
    element: &str,
) -> &'static str {
    let path = format!("{owner}.{element}");
    by_name.get_key_value(path.as_str()).expect("`@` has a line of its own").0
}

fn choice_members(element: &str, names: &[&'static str], types: &[FhirType]) -> Vec<ChoiceMember> {
    names
        .iter()
        .zip(types)
        .map(|(name, fhir_type)| {
            let name = format!("{element}{}", capitalised(name));
            ChoiceMember { name, fhir_type: *fhir_type }
        })
        .collect()
}

fn with_inherited(definition: &Definition, types: &[Definition]) -> Vec<&'static Element> {
    let mut elements = definition.elements.clone();
    let mut parent = definition.parent;
    while let Some(ancestor) = parent.and_then(|handle| types.get(handle.number())) {
        elements.extend(&ancestor.elements);
        parent = ancestor.parent;
    }
    elements.sort_by_key(|element| element.name);
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(owner: &str, name: &str) -> &'static Element {
        FhirType::named(owner).and_then(|owner| owner.element(name)).expect("in the table")
    }

    #[test]
    fn a_choice_element_knows_its_members_and_their_types() {
        let members = element("Observation", "value").members.as_ref().expect("a choice");
        let quantity = members.iter().find(|member| member.name == "valueQuantity");
        assert_eq!(quantity.map(|member| member.fhir_type.name()), Some("Quantity"));
        assert_eq!(members.len(), 11);
    }

    #[test]
    fn a_content_reference_has_the_type_it_refers_to() {
        let item = FhirType::named("Questionnaire.item");
        assert_eq!(element("Questionnaire.item", "item").types.first().copied(), item);
    }

    #[test]
    fn elements_of_the_parents_are_found_on_the_type() {
        assert_eq!(element("Patient", "id").types, [FhirType::named("id").expect("a type")]);
        assert!(element("Age", "unit").members.is_none());
        assert!(FhirType::named("code").expect("a type").element("extension").is_some());
    }

    #[test]
    fn a_type_is_its_ancestors_too() {
        let named = |name| FhirType::named(name).expect("a type");
        assert!(named("Age").is_a(named("Quantity")));
        assert!(named("code").is_a(named("string")));
        assert!(named("Patient").is_a(named("Resource")));
        assert!(!named("Quantity").is_a(named("Age")));
        assert_eq!(named("Patient.contact").kind(), TypeKind::Backbone);
    }
}
