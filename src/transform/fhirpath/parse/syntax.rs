//! Text becomes a tree: the whole grammar of FHIRPath N1, each node with its byte position.
//!
//! A Pratt parser over a lexer, by hand: the grammar is 13 binding powers and a handful of terms,
//! and the messages need exact places. It never looks at types; what it accepts may still be
//! refused by [`compile`](crate::transform::fhirpath::compile::compiler).

use super::lexer::{Lexer, Symbol, Token};
use crate::transform::fhirpath::MAX_EXPRESSION_DEPTH;
use crate::transform::fhirpath::error::PathProblem;
use crate::transform::fhirpath::value::calendar::CalendarUnit;

/// A place in the expression and what is wrong there.
pub(in crate::transform::fhirpath) type Fault = (usize, PathProblem);

/// An expression or a part of one.
#[derive(Debug)]
pub(in crate::transform::fhirpath) struct Syntax {
    /// Bytes before it; for an operator, before the operator.
    pub(in crate::transform::fhirpath) at: usize,
    pub(in crate::transform::fhirpath) node: SyntaxNode,
}

#[derive(Debug)]
pub(in crate::transform::fhirpath) enum SyntaxNode {
    Empty,
    Boolean(bool),
    String(String),
    /// Digits as written.
    Number(String),
    Date(String),
    DateTime(String),
    Time(String),
    /// Number and unit; a calendar unit in the singular.
    Quantity {
        value: String,
        unit: String,
    },
    This,
    Index,
    Total,
    Variable(String),
    /// `input.name`, or a name that begins a path.
    Member {
        input: Option<Box<Syntax>>,
        name: String,
    },
    Function {
        input: Option<Box<Syntax>>,
        name: String,
        arguments: Vec<Syntax>,
    },
    Indexed {
        input: Box<Syntax>,
        index: Box<Syntax>,
    },
    /// A key of `sort` before `desc`.
    Descending(Box<Syntax>),
    Negative(Box<Syntax>),
    Positive(Box<Syntax>),
    Binary {
        operator: Operator,
        left: Box<Syntax>,
        right: Box<Syntax>,
    },
    /// `input is Name`, `input as Name`.
    TypeTest {
        cast: bool,
        input: Box<Syntax>,
        type_at: usize,
        type_name: String,
    },
}

/// Operators with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform::fhirpath) enum Operator {
    Implies,
    Or,
    Xor,
    And,
    In,
    Contains,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Union,
    Plus,
    Minus,
    Concatenate,
    Times,
    Divide,
    WholeDivide,
    Modulo,
}

impl Operator {
    /// As it is written, for messages.
    pub(in crate::transform::fhirpath) const fn as_str(self) -> &'static str {
        match self {
            Self::Implies => "implies",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::And => "and",
            Self::In => "in",
            Self::Contains => "contains",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Equivalent => "~",
            Self::NotEquivalent => "!~",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Union => "|",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Concatenate => "&",
            Self::Times => "*",
            Self::Divide => "/",
            Self::WholeDivide => "div",
            Self::Modulo => "mod",
        }
    }

    /// The larger, the tighter it binds. `is` and `as` have 8, a sign 11.
    const fn binding(self) -> u8 {
        match self {
            Self::Implies => 1,
            Self::Or | Self::Xor => 2,
            Self::And => 3,
            Self::In | Self::Contains => 4,
            Self::Equal | Self::NotEqual | Self::Equivalent | Self::NotEquivalent => 5,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 6,
            Self::Union => 7,
            Self::Plus | Self::Minus | Self::Concatenate => 9,
            Self::Times | Self::Divide | Self::WholeDivide | Self::Modulo => 10,
        }
    }

    fn of(token: &Token) -> Option<Self> {
        Some(match token {
            Token::Symbol(symbol) => match symbol {
                Symbol::Equal => Self::Equal,
                Symbol::NotEqual => Self::NotEqual,
                Symbol::Tilde => Self::Equivalent,
                Symbol::NotTilde => Self::NotEquivalent,
                Symbol::Less => Self::Less,
                Symbol::LessOrEqual => Self::LessOrEqual,
                Symbol::Greater => Self::Greater,
                Symbol::GreaterOrEqual => Self::GreaterOrEqual,
                Symbol::Pipe => Self::Union,
                Symbol::Plus => Self::Plus,
                Symbol::Minus => Self::Minus,
                Symbol::Ampersand => Self::Concatenate,
                Symbol::Star => Self::Times,
                Symbol::Slash => Self::Divide,
                _ => return None,
            },
            Token::Word(word) => match word.as_str() {
                "implies" => Self::Implies,
                "or" => Self::Or,
                "xor" => Self::Xor,
                "and" => Self::And,
                "in" => Self::In,
                "contains" => Self::Contains,
                "div" => Self::WholeDivide,
                "mod" => Self::Modulo,
                _ => return None,
            },
            _ => return None,
        })
    }
}

const TYPE_BINDING: u8 = 8;
const SIGN_BINDING: u8 = 11;

/// Parses a whole expression.
pub(in crate::transform::fhirpath) fn parse(expression: &str) -> Result<Syntax, Fault> {
    let mut lexer = Lexer::new(expression);
    let (at, token) = lexer.next()?;
    let mut parser = Parser { lexer, at, token, depth: 0 };
    let syntax = parser.expression(0)?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator or the end of the expression"));
    }
    Ok(syntax)
}

struct Parser<'e> {
    lexer: Lexer<'e>,
    /// Where the token at hand begins.
    at: usize,
    token: Token,
    depth: usize,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(usize, Token), Fault> {
        let (at, token) = self.lexer.next()?;
        Ok((std::mem::replace(&mut self.at, at), std::mem::replace(&mut self.token, token)))
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let problem =
            PathProblem::Syntax { expected: expected.to_owned(), found: self.token.to_string() };
        (self.at, problem)
    }

    fn accept(&mut self, symbol: Symbol) -> Result<bool, Fault> {
        let found = self.token == Token::Symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: Symbol, name: &str) -> Result<(), Fault> {
        if self.accept(symbol)? { Ok(()) } else { Err(self.unexpected(name)) }
    }

    /// One level further down, in the text or in the tree that is made of it.
    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_EXPRESSION_DEPTH {
            return Err((self.at, PathProblem::TooDeep { limit: MAX_EXPRESSION_DEPTH }));
        }
        Ok(())
    }

    fn expression(&mut self, weakest: u8) -> Result<Syntax, Fault> {
        let depth = self.depth;
        self.deeper()?;
        let mut left = self.signed()?;
        loop {
            if let Token::Word(word) = &self.token
                && matches!(word.as_str(), "is" | "as")
                && TYPE_BINDING >= weakest
            {
                let cast = word == "as";
                let (at, _) = self.advance()?;
                let (type_at, type_name) = self.type_name()?;
                let input = Box::new(left);
                left =
                    Syntax { at, node: SyntaxNode::TypeTest { cast, input, type_at, type_name } };
            } else if let Some(operator) = Operator::of(&self.token)
                && operator.binding() >= weakest
            {
                let (at, _) = self.advance()?;
                let right = Box::new(self.expression(operator.binding() + 1)?);
                let left_operand = Box::new(left);
                left =
                    Syntax { at, node: SyntaxNode::Binary { operator, left: left_operand, right } };
            } else {
                break;
            }
            self.deeper()?;
        }
        self.depth = depth;
        Ok(left)
    }

    fn signed(&mut self) -> Result<Syntax, Fault> {
        let at = self.at;
        if self.accept(Symbol::Minus)? {
            let operand = Box::new(self.expression(SIGN_BINDING)?);
            return Ok(Syntax { at, node: SyntaxNode::Negative(operand) });
        }
        if self.accept(Symbol::Plus)? {
            let operand = Box::new(self.expression(SIGN_BINDING)?);
            return Ok(Syntax { at, node: SyntaxNode::Positive(operand) });
        }
        self.path()
    }

    /// A term and what is invoked on it: `.name`, `.function()`, `[index]`.
    fn path(&mut self) -> Result<Syntax, Fault> {
        let mut left = self.term()?;
        loop {
            if self.accept(Symbol::Dot)? {
                left = match &self.token {
                    Token::Word(_) | Token::Delimited(_) => {
                        self.invocation(Some(Box::new(left)))?
                    }
                    Token::Special(_) => self.special()?,
                    _ => return Err(self.unexpected("a name after the dot")),
                };
            } else if self.token == Token::Symbol(Symbol::OpenBracket) {
                let (at, _) = self.advance()?;
                let index = Box::new(self.expression(0)?);
                self.expect(Symbol::CloseBracket, "`]`")?;
                left = Syntax { at, node: SyntaxNode::Indexed { input: Box::new(left), index } };
            } else {
                return Ok(left);
            }
            self.deeper()?;
        }
    }

    fn term(&mut self) -> Result<Syntax, Fault> {
        match &self.token {
            Token::Word(word) => match word.as_str() {
                "true" | "false" => {
                    let value = word == "true";
                    let (at, _) = self.advance()?;
                    Ok(Syntax { at, node: SyntaxNode::Boolean(value) })
                }
                "and" | "or" | "xor" | "implies" | "div" | "mod" => {
                    Err(self.unexpected("a name, a literal or `(`"))
                }
                _ => self.invocation(None),
            },
            Token::Delimited(_) => self.invocation(None),
            Token::Special(_) => self.special(),
            Token::Symbol(Symbol::OpenParenthesis) => {
                self.advance()?;
                let inner = self.expression(0)?;
                self.expect(Symbol::CloseParenthesis, "`)`")?;
                Ok(inner)
            }
            Token::Symbol(Symbol::OpenBrace) => {
                let (at, _) = self.advance()?;
                self.expect(Symbol::CloseBrace, "`}`")?;
                Ok(Syntax { at, node: SyntaxNode::Empty })
            }
            Token::Symbol(Symbol::Percent) => {
                let (at, _) = self.advance()?;
                match self.advance()?.1 {
                    Token::Word(name) | Token::Delimited(name) | Token::String(name) => {
                        Ok(Syntax { at, node: SyntaxNode::Variable(name) })
                    }
                    found => {
                        let expected = "a variable's name".to_owned();
                        Err((at, PathProblem::Syntax { expected, found: found.to_string() }))
                    }
                }
            }
            Token::Number(_) => self.number(),
            Token::String(_) | Token::Date(_) | Token::DateTime(_) | Token::Time(_) => {
                let (at, token) = self.advance()?;
                let node = match token {
                    Token::String(text) => SyntaxNode::String(text),
                    Token::Date(text) => SyntaxNode::Date(text),
                    Token::DateTime(text) => SyntaxNode::DateTime(text),
                    Token::Time(text) => SyntaxNode::Time(text),
                    _ => SyntaxNode::Empty,
                };
                Ok(Syntax { at, node })
            }
            Token::Symbol(_) | Token::End => Err(self.unexpected("a name, a literal or `(`")),
        }
    }

    fn special(&mut self) -> Result<Syntax, Fault> {
        let (at, token) = self.advance()?;
        let Token::Special(name) = token else { return Err(self.unexpected("`$this`")) };
        let node = match name.as_str() {
            "this" => SyntaxNode::This,
            "index" => SyntaxNode::Index,
            "total" => SyntaxNode::Total,
            _ => {
                let expected = "`$this`, `$index` or `$total`".to_owned();
                return Err((at, PathProblem::Syntax { expected, found: format!("`${name}`") }));
            }
        };
        Ok(Syntax { at, node })
    }

    fn number(&mut self) -> Result<Syntax, Fault> {
        let (at, token) = self.advance()?;
        let Token::Number(value) = token else { return Err(self.unexpected("a number")) };
        let unit = match &self.token {
            Token::String(unit) => unit.clone(),
            Token::Word(word) => match CalendarUnit::named(word) {
                Some(unit) => unit.name().to_owned(),
                None => return Ok(Syntax { at, node: SyntaxNode::Number(value) }),
            },
            _ => return Ok(Syntax { at, node: SyntaxNode::Number(value) }),
        };
        self.advance()?;
        Ok(Syntax { at, node: SyntaxNode::Quantity { value, unit } })
    }

    /// A name, or a function and its arguments.
    fn invocation(&mut self, input: Option<Box<Syntax>>) -> Result<Syntax, Fault> {
        let (at, token) = self.advance()?;
        let (Token::Word(name) | Token::Delimited(name)) = token else {
            return Err(self.unexpected("a name"));
        };
        if !self.accept(Symbol::OpenParenthesis)? {
            return Ok(Syntax { at, node: SyntaxNode::Member { input, name } });
        }
        let mut arguments = Vec::new();
        if !self.accept(Symbol::CloseParenthesis)? {
            loop {
                let argument = self.expression(0)?;
                arguments.push(if name == "sort" { self.ordered(argument)? } else { argument });
                if !self.accept(Symbol::Comma)? {
                    break;
                }
            }
            self.expect(Symbol::CloseParenthesis, "`,` or `)`")?;
        }
        Ok(Syntax { at, node: SyntaxNode::Function { input, name, arguments } })
    }

    /// `asc` or `desc` behind a key.
    fn ordered(&mut self, key: Syntax) -> Result<Syntax, Fault> {
        let descending = match &self.token {
            Token::Word(word) if word == "desc" => true,
            Token::Word(word) if word == "asc" => false,
            _ => return Ok(key),
        };
        let (at, _) = self.advance()?;
        let key = if descending {
            Syntax { at, node: SyntaxNode::Descending(Box::new(key)) }
        } else {
            key
        };
        Ok(key)
    }

    /// `Patient`, `FHIR.Patient`, `System.String`.
    fn type_name(&mut self) -> Result<(usize, String), Fault> {
        let start = self.at;
        let mut name = String::new();
        loop {
            match &self.token {
                Token::Word(part) | Token::Delimited(part) => name.push_str(part),
                _ => return Err(self.unexpected("a type's name")),
            }
            self.advance()?;
            if !self.accept(Symbol::Dot)? {
                return Ok((start, name));
            }
            name.push('.');
        }
    }
}
