//! The tree becomes a program: names are resolved against the types of FHIR, functions against
//! what is implemented. Whatever cannot work is refused here, with its place.

mod literal;
mod member;
pub(super) mod static_type;
mod type_name;

use self::static_type::{StaticType, Types, arithmetic_types, result_types};
use crate::transform::fhirpath::error::{PathProblem, nearest};
use crate::transform::fhirpath::function::{
    FUNCTIONS, Function, REFUSED, REFUSED_VARIABLES, TYPED,
};
use crate::transform::fhirpath::parse::syntax::{Fault, Operator, Syntax, SyntaxNode};
use crate::transform::fhirpath::pattern::pattern;
use crate::transform::fhirpath::program::{Program, TypeMode, TypeTest};
use crate::transform::fhirpath::types::{FhirType, TypeKind};
use crate::transform::fhirpath::value::encode;
use crate::transform::fhirpath::value::item::{Item, SystemType};
use crate::transform::fhirpath::variables::{Variable, Variables};

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
            SyntaxNode::Descending(key) => {
                let (key, types) = self.compile(key, this)?;
                Ok((Program::Descending(Box::new(key)), types))
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
                self.binary(*operator, left, right, this)
            }
            SyntaxNode::TypeTest { cast, input, type_at, type_name } => {
                let mode = if *cast { TypeMode::As } else { TypeMode::Is };
                self.type_test(Some(input), mode, type_name::named(*type_at, type_name)?, this)
            }
            literal => literal::program(at, literal),
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
                _ => return Err((at, self.unknown_variable(name))),
            },
        };
        Ok((Program::Literal(Item::String(text.into())), Types::system(SystemType::String)))
    }

    fn unknown_variable(&self, name: &str) -> PathProblem {
        if let Some((_, reason)) = REFUSED_VARIABLES.iter().find(|(refused, _)| *refused == name) {
            return PathProblem::Unsupported { name: format!("%{name}"), reason };
        }
        PathProblem::UnknownVariable {
            name: name.to_owned(),
            nearest: self.variables.nearest(name),
        }
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
                return member::root(at, fhir, this);
            }
            return member::navigate(at, (Program::This, this.clone()), name);
        };
        member::navigate(at, self.compile(input, this)?, name)
    }

    fn function(
        &self,
        at: usize,
        input: Option<&Syntax>,
        name: &str,
        arguments: &[Syntax],
        this: &Types,
    ) -> Result<Compiled, Fault> {
        let type_mode = match name {
            "is" | "conformsTo" => Some(TypeMode::Is),
            "as" => Some(TypeMode::As),
            "ofType" => Some(TypeMode::OfType),
            _ => None,
        };
        if let Some(mode) = type_mode {
            check_count(at, name, arguments, 1, 1)?;
            let test = match name {
                "conformsTo" => type_name::profile(arguments)?,
                _ => type_name::argument(arguments)?,
            };
            return self.type_test(input, mode, test, this);
        }
        if let (Some(input), "resolve") = (input, name)
            && let SyntaxNode::String(reference) = &input.node
            && !reference.starts_with('#')
        {
            let name = name.to_owned();
            let reason = "only what is contained in the document is looked for";
            return Err((input.at, PathProblem::Unsupported { name, reason }));
        }
        let (input, types) = self.input(input, this)?;
        if name == "getReferenceKey" {
            check_count(at, name, arguments, 0, 1)?;
            let target =
                if arguments.is_empty() { None } else { type_name::argument(arguments)?.fhir };
            let program = Program::ReferenceKey { input: Box::new(input), target };
            return Ok((program, Types::system(SystemType::String)));
        }
        let Some(signature) = FUNCTIONS.iter().find(|signature| signature.name == name) else {
            return Err((at, unknown_function(name)));
        };
        check_count(at, name, arguments, signature.least, signature.most)?;
        let function = signature.function;
        if function.is_on_text() && types.are_objects()
            || function == Function::Resolve && types.are_objects() && !types.may_refer()
            || function.is_on_values() && types.are_objects() && !types.may_be_quantities()
        {
            let operand = types.names();
            return Err((at, PathProblem::Operand { operation: name.to_owned(), operand }));
        }
        // In `iif` and `aggregate`, `$this` is the input's item; elsewhere it stays.
        let inner = if function.is_per_item() { &types } else { this };
        let mut programs = Vec::with_capacity(arguments.len());
        let mut argument_types = Vec::with_capacity(arguments.len());
        for argument in arguments {
            // What `repeat` finds is searched again, and may be of other types.
            let (program, found) = if matches!(function, Function::Repeat | Function::RepeatAll) {
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
        let accepted = encode::formats(function);
        if let (false, Some(argument)) = (accepted.is_empty(), arguments.first())
            && let SyntaxNode::String(format) = &argument.node
            && !accepted.contains(&&**format)
        {
            let function = name.to_owned();
            return Err((argument.at, PathProblem::Format { function, accepted }));
        }
        let types = result_types(function, types, argument_types);
        let input = Box::new(input);
        Ok((Program::Call { input, signature, arguments: programs, pattern }, types))
    }

    fn input(&self, input: Option<&Syntax>, this: &Types) -> Result<Compiled, Fault> {
        match input {
            Some(input) => self.compile(input, this),
            None => Ok((Program::This, this.clone())),
        }
    }

    /// `resolve() is Patient` is told by the reference alone: nothing needs to be resolved.
    fn type_test(
        &self,
        input: Option<&Syntax>,
        mode: TypeMode,
        test: TypeTest,
        this: &Types,
    ) -> Result<Compiled, Fault> {
        if let (TypeMode::Is, Some(target), Some(resolved)) = (mode, test.fhir, input)
            && let SyntaxNode::Function { input, name, arguments } = &resolved.node
            && name == "resolve"
            && arguments.is_empty()
        {
            let (input, types) = self.input(input.as_deref(), this)?;
            if types.are_objects() && !types.may_refer() {
                let (operation, operand) = (name.clone(), types.names());
                return Err((resolved.at, PathProblem::Operand { operation, operand }));
            }
            let program = Program::RefersTo { input: Box::new(input), target };
            return Ok((program, Types::system(SystemType::Boolean)));
        }
        Ok(type_test(self.input(input, this)?, mode, test))
    }

    fn binary(
        &self,
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
            Operator::Plus
            | Operator::Minus
            | Operator::Times
            | Operator::Divide
            | Operator::WholeDivide
            | Operator::Modulo => arithmetic_types(operator, &left_types, &right_types),
            _ => Types::system(SystemType::Boolean),
        };
        let (left, right) = (Box::new(left), Box::new(right));
        Ok((Program::Binary { operator, left, right }, types))
    }
}

fn unknown_function(name: &str) -> PathProblem {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return PathProblem::Unsupported { name: name.to_owned(), reason };
    }
    let names = FUNCTIONS.iter().map(|signature| signature.name).chain(TYPED);
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
