//! The tree becomes a program: names are resolved against the types of FHIR, functions against
//! what is implemented. Whatever cannot work is refused here, with its place.

use regex::RegexBuilder;

use super::error::{PathProblem, nearest};
use super::function::{FUNCTIONS, Function, REFUSED};
use super::item::{Item, SystemType};
use super::number;
use super::program::{Program, Step, TypeMode, TypeTest};
use super::quantity::Quantity;
use super::static_type::{StaticType, Types, result_types};
use super::syntax::{Fault, Operator, Syntax, SyntaxNode, calendar_unit};
use super::temporal::Temporal;
use super::types::{FhirType, TypeKind};
use super::variables::{Variable, Variables};

/// Largest compiled regular expression, in bytes: ample for any pattern over codes and names.
pub(super) const MAX_PATTERN_BYTES: usize = 1 << 20;

type Compiled = (Program, Types);

/// Compiles one expression.
pub(super) struct Compiler<'v> {
    /// What the whole expression is evaluated on.
    pub(super) context: Types,
    /// Type of the resource around it.
    pub(super) resource: Types,
    /// What `%name` stands for, besides FHIRPath's own.
    pub(super) variables: &'v Variables,
}

impl<'v> Compiler<'v> {
    pub(super) fn new(context: Option<FhirType>, variables: &'v Variables) -> Self {
        let resource = context
            .and_then(|context| FhirType::named(context.name().split('.').next()?))
            .filter(|root| root.kind() == TypeKind::Resource);
        let types = |known: Option<FhirType>| known.map_or(Types::Unknown, Types::fhir);
        Self { context: types(context), resource: types(resource), variables }
    }

    /// `this` is what names without input begin from.
    pub(super) fn compile(&self, syntax: &Syntax, this: &Types) -> Result<Compiled, Fault> {
        let at = syntax.at;
        match &syntax.node {
            SyntaxNode::Empty => Ok((Program::Empty, Types::OneOf(Vec::new()))),
            SyntaxNode::This => Ok((Program::This, this.clone())),
            SyntaxNode::Index => Ok((Program::Index, Types::system(SystemType::Integer))),
            SyntaxNode::Total => Ok((Program::Total, Types::Unknown)),
            SyntaxNode::Variable(name) => self.variable(at, name),
            SyntaxNode::Member { input, name } => self.member(at, input.as_deref(), name, this),
            SyntaxNode::Function { input, name, arguments } => {
                self.function(at, input.as_deref(), name, arguments, this)
            }
            SyntaxNode::Indexed { input, index } => {
                let (input, types) = self.compile(input, this)?;
                let (index, _) = self.compile(index, this)?;
                Ok((Program::Indexed { input: Box::new(input), index: Box::new(index) }, types))
            }
            SyntaxNode::Negative(operand) => {
                let (operand, types) = self.compile(operand, this)?;
                Ok((Program::Negative(Box::new(operand)), types))
            }
            SyntaxNode::Positive(operand) => {
                let (operand, types) = self.compile(operand, this)?;
                Ok((Program::Positive(Box::new(operand)), types))
            }
            SyntaxNode::Binary { operator, left, right } => {
                self.binary(at, *operator, left, right, this)
            }
            SyntaxNode::TypeTest { cast, input, type_at, type_name } => {
                let mode = if *cast { TypeMode::As } else { TypeMode::Is };
                let input = self.compile(input, this)?;
                Ok(type_test(input, mode, named_type(*type_at, type_name)?))
            }
            literal => literal_program(at, literal),
        }
    }

    fn variable(&self, at: usize, name: &str) -> Result<Compiled, Fault> {
        match self.variables.get(name) {
            Some(Variable::Constant(item)) => {
                let types = item.system_type().map_or(Types::Unknown, Types::system);
                return Ok((Program::Literal(item.clone()), types));
            }
            Some(Variable::RowIndex) => {
                return Ok((Program::RowIndex, Types::system(SystemType::Integer)));
            }
            None => {}
        }
        let text = match name {
            "resource" | "rootResource" => return Ok((Program::Resource, self.resource.clone())),
            "context" => return Ok((Program::Context, self.context.clone())),
            "sct" => "http://snomed.info/sct".to_owned(),
            "loinc" => "http://loinc.org".to_owned(),
            "ucum" => "http://unitsofmeasure.org".to_owned(),
            _ => match (name.strip_prefix("vs-"), name.strip_prefix("ext-")) {
                (Some(set), _) => format!("http://hl7.org/fhir/ValueSet/{set}"),
                (_, Some(extension)) => {
                    format!("http://hl7.org/fhir/StructureDefinition/{extension}")
                }
                _ => {
                    let nearest = self.variables.nearest(name);
                    let name = name.to_owned();
                    return Err((at, PathProblem::UnknownVariable { name, nearest }));
                }
            },
        };
        Ok((Program::Literal(Item::String(text.into())), Types::system(SystemType::String)))
    }

    fn member(
        &self,
        at: usize,
        input: Option<&Syntax>,
        name: &str,
        this: &Types,
    ) -> Result<Compiled, Fault> {
        let Some(input) = input else {
            if let Some(fhir) = FhirType::named(name)
                && name.starts_with(|letter: char| letter.is_ascii_uppercase())
            {
                return root(at, fhir, this);
            }
            return navigate(at, (Program::This, this.clone()), name);
        };
        navigate(at, self.compile(input, this)?, name)
    }

    fn function(
        &self,
        at: usize,
        input: Option<&Syntax>,
        name: &str,
        arguments: &[Syntax],
        this: &Types,
    ) -> Result<Compiled, Fault> {
        let (input, types) = match input {
            Some(input) => self.compile(input, this)?,
            None => (Program::This, this.clone()),
        };
        let type_mode = match name {
            "is" => Some(TypeMode::Is),
            "as" => Some(TypeMode::As),
            "ofType" => Some(TypeMode::OfType),
            _ => None,
        };
        if let Some(mode) = type_mode {
            check_count(at, name, arguments, 1, 1)?;
            let test = type_argument(arguments)?;
            return Ok(type_test((input, types), mode, test));
        }
        if name == "getReferenceKey" {
            check_count(at, name, arguments, 0, 1)?;
            let target = if arguments.is_empty() { None } else { type_argument(arguments)?.fhir };
            let program = Program::ReferenceKey { input: Box::new(input), target };
            return Ok((program, Types::system(SystemType::String)));
        }
        let Some(signature) = FUNCTIONS.iter().find(|signature| signature.name == name) else {
            return Err((at, unknown_function(name)));
        };
        check_count(at, name, arguments, signature.least, signature.most)?;
        let function = signature.function;
        if function.is_on_text() && types.are_objects() {
            let operand = types.names();
            return Err((at, PathProblem::Operand { operation: name.to_owned(), operand }));
        }
        // In `iif` and `aggregate`, `$this` is the input's item; elsewhere it stays.
        let inner = if function.is_per_item() { &types } else { this };
        let mut programs = Vec::with_capacity(arguments.len());
        let mut argument_types = Vec::with_capacity(arguments.len());
        for argument in arguments {
            // What `repeat` finds is searched again, and may be of other types.
            let (program, found) = if function == Function::Repeat {
                let (_, once) = self.compile(argument, inner)?;
                self.compile(argument, &inner.clone().or(once))
                    .or_else(|_| self.compile(argument, inner))?
            } else {
                self.compile(argument, inner)?
            };
            programs.push(program);
            argument_types.push(found);
        }
        let pattern = match (function, programs.first(), arguments.first()) {
            (
                Function::Matches | Function::MatchesFull | Function::ReplaceMatches,
                Some(Program::Literal(Item::String(text))),
                Some(argument),
            ) => Some(pattern(function, text).ok_or((argument.at, PathProblem::Pattern))?),
            _ => None,
        };
        let types = result_types(function, types, argument_types);
        let input = Box::new(input);
        Ok((Program::Call { input, function, arguments: programs, pattern }, types))
    }

    fn binary(
        &self,
        at: usize,
        operator: Operator,
        left: &Syntax,
        right: &Syntax,
        this: &Types,
    ) -> Result<Compiled, Fault> {
        let (left, left_types) = self.compile(left, this)?;
        let (right, right_types) = self.compile(right, this)?;
        let types = match operator {
            Operator::Union => left_types.or(right_types),
            Operator::Concatenate => Types::system(SystemType::String),
            Operator::Times | Operator::Divide
                if left_types.are_quantities() || right_types.are_quantities() =>
            {
                let name = operator.as_str().to_owned();
                let reason = "units are not multiplied or divided";
                return Err((at, PathProblem::Unsupported { name, reason }));
            }
            Operator::Divide => Types::system(SystemType::Decimal),
            Operator::Plus
            | Operator::Minus
            | Operator::Times
            | Operator::WholeDivide
            | Operator::Modulo => Types::Unknown,
            _ => Types::system(SystemType::Boolean),
        };
        let (left, right) = (Box::new(left), Box::new(right));
        Ok((Program::Binary { operator, left, right }, types))
    }
}

/// A type's name at the beginning of a path.
fn root(at: usize, named: FhirType, this: &Types) -> Result<Compiled, Fault> {
    let at_run_time = Ok((Program::OfType(named), Types::fhir(named)));
    let Types::OneOf(types) = this else { return at_run_time };
    let fits = |known: &StaticType| matches!(known, StaticType::Fhir(known) if known.is_a(named));
    let may_fit = |known: &StaticType| match known {
        StaticType::Fhir(known) => known.is_abstract() || named.is_a(*known),
        StaticType::System(_) => false,
    };
    if types.iter().all(fits) {
        Ok((Program::This, this.clone()))
    } else if types.iter().any(|known| fits(known) || may_fit(known)) {
        at_run_time
    } else {
        let (name, context) = (named.name().to_owned(), this.names());
        Err((at, PathProblem::WrongContext { name, context }))
    }
}

/// One element further.
fn navigate(at: usize, (from, types): Compiled, name: &str) -> Result<Compiled, Fault> {
    let (step, found) = match &types {
        Types::Unknown => (Step::Named(name.to_owned()), Types::Unknown),
        Types::OneOf(known) if known.is_empty() => return Ok((Program::Empty, types)),
        Types::OneOf(known) => {
            let mut elements = Vec::new();
            let mut open = false;
            for candidate in known {
                let StaticType::Fhir(fhir) = candidate else { continue };
                open |= fhir.is_abstract();
                elements.extend(fhir.element(name));
            }
            match elements.as_slice() {
                [] if !open => {
                    return Err((at, unknown_element(&types, known, name)));
                }
                [element] if known.len() == 1 => (Step::Known(element), element_types(element)),
                _ if open => (Step::Named(name.to_owned()), Types::Unknown),
                several => {
                    let found = several.iter().map(|element| element_types(element));
                    let found = found.reduce(Types::or).unwrap_or(Types::Unknown);
                    (Step::Named(name.to_owned()), found)
                }
            }
        }
    };
    let program = match from {
        Program::Navigate { from, mut steps } => {
            steps.push(step);
            Program::Navigate { from, steps }
        }
        from => Program::Navigate { from: Box::new(from), steps: vec![step] },
    };
    Ok((program, found))
}

fn element_types(element: &super::types::Element) -> Types {
    Types::OneOf(element.types.iter().copied().map(StaticType::Fhir).collect())
}

fn unknown_element(types: &Types, known: &[StaticType], name: &str) -> PathProblem {
    let mut candidates = Vec::new();
    let mut choice = None;
    for candidate in known {
        let StaticType::Fhir(fhir) = candidate else { continue };
        for element in fhir.elements() {
            candidates.push(element.name);
            let member = element.members.iter().flatten().find(|member| member.name == name);
            if let Some(member) = member {
                choice = Some(format!("{}.ofType({})", element.name, member.fhir_type.name()));
            }
        }
    }
    let nearest = nearest(name, candidates.into_iter(), choice);
    PathProblem::UnknownElement { owner: types.names(), name: name.to_owned(), nearest }
}

fn unknown_function(name: &str) -> PathProblem {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return PathProblem::Unsupported { name: name.to_owned(), reason };
    }
    let typed = ["is", "as", "ofType", "getReferenceKey"];
    let names = FUNCTIONS.iter().map(|signature| signature.name).chain(typed);
    PathProblem::UnknownFunction { name: name.to_owned(), nearest: nearest(name, names, None) }
}

fn check_count(
    at: usize,
    function: &str,
    arguments: &[Syntax],
    least: usize,
    most: usize,
) -> Result<(), Fault> {
    if (least..=most).contains(&arguments.len()) {
        return Ok(());
    }
    let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let (function, found) = (function.to_owned(), arguments.len());
    Err((at, PathProblem::Arguments { function, expected, found }))
}

/// The type that the argument of `ofType` and its like names.
fn type_argument(arguments: &[Syntax]) -> Result<TypeTest, Fault> {
    let Some(argument) = arguments.first() else {
        return Err((0, PathProblem::UnknownType { name: String::new(), nearest: Vec::new() }));
    };
    let Some(name) = written_type(argument) else {
        let expected = "a type's name".to_owned();
        let found = "another expression".to_owned();
        return Err((argument.at, PathProblem::Syntax { expected, found }));
    };
    named_type(first_place(argument), &name)
}

/// Where a dotted name begins.
fn first_place(mut syntax: &Syntax) -> usize {
    while let SyntaxNode::Member { input: Some(input), .. } = &syntax.node {
        syntax = input;
    }
    syntax.at
}

/// `Patient`, `FHIR.Patient`.
fn written_type(syntax: &Syntax) -> Option<String> {
    let SyntaxNode::Member { input, name } = &syntax.node else { return None };
    match input {
        None => Some(name.clone()),
        Some(input) => Some(format!("{}.{name}", written_type(input)?)),
    }
}

fn named_type(at: usize, name: &str) -> Result<TypeTest, Fault> {
    let (fhir, system) = if let Some(system) = name.strip_prefix("System.") {
        (None, SystemType::named(system))
    } else if let Some(fhir) = name.strip_prefix("FHIR.") {
        (FhirType::named(fhir), None)
    } else {
        (FhirType::named(name), SystemType::named(name))
    };
    if fhir.is_none() && system.is_none() {
        let nearest = nearest(name, FhirType::all_names(), None);
        return Err((at, PathProblem::UnknownType { name: name.to_owned(), nearest }));
    }
    Ok(TypeTest { fhir, system })
}

fn type_test((input, types): Compiled, mode: TypeMode, test: TypeTest) -> Compiled {
    let is_computed = matches!(types.only(), Some(StaticType::System(_)));
    let types = match (test.fhir, test.system) {
        _ if mode == TypeMode::Is => Types::system(SystemType::Boolean),
        (Some(fhir), system) if system.is_none() || !is_computed => Types::fhir(fhir),
        (_, Some(system)) => Types::system(system),
        (_, None) => Types::Unknown,
    };
    (Program::TypeTest { input: Box::new(input), test, mode }, types)
}

/// A regular expression as FHIRPath has them: the dot matches a line's end too.
pub(super) fn pattern(function: Function, text: &str) -> Option<regex::Regex> {
    let whole = format!("^(?:{text})$");
    let text = if function == Function::MatchesFull { &whole } else { text };
    RegexBuilder::new(text).dot_matches_new_line(true).size_limit(MAX_PATTERN_BYTES).build().ok()
}

fn literal_program(at: usize, node: &SyntaxNode) -> Result<Compiled, Fault> {
    let invalid = |literal| (at, PathProblem::Literal { literal });
    let item = match node {
        SyntaxNode::Boolean(value) => Item::Boolean(*value),
        SyntaxNode::String(text) => Item::String(text.clone().into()),
        SyntaxNode::Number(digits) if digits.contains('.') => {
            Item::Decimal(number::parse_decimal(digits).map_err(|_| invalid("decimal"))?)
        }
        SyntaxNode::Number(digits) => {
            Item::Integer(digits.parse().map_err(|_| invalid("integer"))?)
        }
        SyntaxNode::Date(text) => Item::Date(Temporal::parse_date(text).ok_or(invalid("date"))?),
        SyntaxNode::DateTime(text) => {
            Item::DateTime(Temporal::parse_date_time(text).ok_or(invalid("date-time"))?)
        }
        SyntaxNode::Time(text) => Item::Time(Temporal::parse_time(text).ok_or(invalid("time"))?),
        SyntaxNode::Quantity { value, unit, calendar } => {
            let value = number::parse_decimal(value).map_err(|_| invalid("quantity"))?;
            // `1 'month'` is no UCUM; it is what people write for `1 month`.
            let quoted = calendar_unit(unit).filter(|_| !calendar);
            let unit = quoted.unwrap_or(unit).to_owned();
            let calendar = *calendar || quoted.is_some();
            Item::Quantity(Box::new(Quantity { value, unit, calendar }))
        }
        _ => return Err(invalid("literal")),
    };
    let types = item.system_type().map_or(Types::Unknown, Types::system);
    Ok((Program::Literal(item), types))
}
