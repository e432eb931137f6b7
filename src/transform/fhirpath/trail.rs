//! How far an expression comes in a document: where it runs dry.
//!
//! In: a compiled expression. Out: its steps, `name`, `name.where(…)`, `name.where(…).family`,
//! each compiled, and how many items each yields. For explaining only; evaluation never comes
//! here.

use super::parse::lexer::{Lexer, Symbol, Token};
use super::{Environment, Item, Path};

/// An expression in steps, each reaching further than the one before.
#[derive(Debug)]
pub struct Trail(Vec<Path>);

/// How far one step comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailStep {
    /// The expression up to here, as it was written.
    pub path: String,
    /// Items that it yields.
    pub items: usize,
}

impl Trail {
    /// The steps of an expression. One that is no chain of invocations (`a | b`, `a = b`) has one
    /// step.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let expression = path.expression();
        let context = path.0.context.map(super::FhirType::name);
        let mut steps: Vec<Path> = ends(expression)
            .into_iter()
            .filter_map(|end| Path::compile(expression.get(..end)?, context).ok())
            .collect();
        steps.push(path.clone());
        Self(steps)
    }

    /// Follows the steps from all of these items until one yields nothing, which is the last. An
    /// evaluation that fails yields nothing.
    #[must_use]
    pub fn follow<'d>(&self, environment: Environment<'d>, from: &[Item<'d>]) -> Vec<TrailStep> {
        let mut taken = Vec::new();
        let mut found = Vec::new();
        for step in &self.0 {
            let mut items = 0;
            for item in from {
                found.clear();
                if step.evaluate(environment, item.clone(), &mut found).is_ok() {
                    items += found.len();
                }
            }
            taken.push(TrailStep { path: step.expression().trim().to_owned(), items });
            if items == 0 {
                break;
            }
        }
        taken
    }
}

/// Where the steps of a chain end, in bytes; the whole is not among them.
fn ends(expression: &str) -> Vec<usize> {
    let mut lexer = Lexer::new(expression);
    let mut ends = Vec::new();
    let mut depth = 0_usize;
    let mut follows_name = false;
    while let Ok((at, token)) = lexer.next() {
        let is_name = matches!(token, Token::Word(_) | Token::Delimited(_) | Token::Special(_));
        match token {
            Token::End => return ends,
            Token::Symbol(Symbol::OpenParenthesis | Symbol::OpenBracket | Symbol::OpenBrace) => {
                if depth == 0 && at > 0 && token == Token::Symbol(Symbol::OpenBracket) {
                    ends.push(at);
                }
                depth += 1;
            }
            Token::Symbol(Symbol::CloseParenthesis | Symbol::CloseBracket | Symbol::CloseBrace) => {
                depth = depth.saturating_sub(1);
            }
            _ if depth > 0 => {}
            Token::Symbol(Symbol::Dot) => ends.push(at),
            Token::Symbol(Symbol::Percent) if at == 0 => {}
            // two names in a row: one of them is an operator
            _ if is_name && !follows_name => {}
            _ => return Vec::new(),
        }
        follows_name = is_name && depth == 0;
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(expression: &str) -> Vec<&str> {
        ends(expression).into_iter().filter_map(|end| expression.get(..end)).collect()
    }

    #[test]
    fn a_chain_is_cut_at_its_own_dots_and_indexers_only() {
        assert_eq!(
            steps("Patient.name.where(use.exists() and text != 'a.b')[0].given.first()"),
            [
                "Patient",
                "Patient.name",
                "Patient.name.where(use.exists() and text != 'a.b')",
                "Patient.name.where(use.exists() and text != 'a.b')[0]",
                "Patient.name.where(use.exists() and text != 'a.b')[0].given",
            ]
        );
        assert_eq!(steps("%resource.id"), ["%resource"]);
        assert_eq!(steps("$this.code"), ["$this"]);
    }

    #[test]
    fn an_expression_with_an_operator_is_one_step() {
        for expression in ["a.b | c.d", "a.b and c.d", "a.b is Quantity", "-a.b", "a.b = 1.5"] {
            assert!(steps(expression).is_empty(), "{expression}");
        }
    }

    #[test]
    fn a_trail_ends_where_nothing_is_found() {
        use crate::model::{Document, DocumentLimits};
        let text = br#"{"resourceType":"Patient","contact":[{"gender":"male"},{}]}"#;
        let document = Document::parse(text, DocumentLimits::default()).expect("JSON");
        let root = document.root();
        let path = Path::compile("Patient.contact.telecom.value", Some("Patient")).expect("a path");
        let trail = Trail::of(&path).follow(Environment::of(root), &[Item::resource(root)]);
        let counts: Vec<_> = trail.iter().map(|step| (step.path.as_str(), step.items)).collect();
        assert_eq!(
            counts,
            [("Patient", 1), ("Patient.contact", 2), ("Patient.contact.telecom", 0)]
        );
    }
}
