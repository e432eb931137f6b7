//! The expression's characters become tokens, each with its byte position.

use std::fmt;

use super::syntax::Fault;
use crate::transform::fhirpath::error::PathProblem;

/// A token, without comments and white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transform::fhirpath) enum Token {
    /// A name or a keyword.
    Word(String),
    /// `` `name` ``: never a keyword.
    Delimited(String),
    /// `$name`.
    Special(String),
    String(String),
    Number(String),
    /// Without the `@`.
    Date(String),
    DateTime(String),
    /// Without the `@T`.
    Time(String),
    Symbol(Symbol),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform::fhirpath) enum Symbol {
    Dot,
    Comma,
    OpenParenthesis,
    CloseParenthesis,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Percent,
    Equal,
    NotEqual,
    Tilde,
    NotTilde,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Pipe,
    Plus,
    Minus,
    Ampersand,
    Star,
    Slash,
}

impl Symbol {
    /// The longer ones first.
    const WRITTEN: [(&str, Self); 23] = [
        ("!=", Self::NotEqual),
        ("!~", Self::NotTilde),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        (".", Self::Dot),
        (",", Self::Comma),
        ("(", Self::OpenParenthesis),
        (")", Self::CloseParenthesis),
        ("[", Self::OpenBracket),
        ("]", Self::CloseBracket),
        ("{", Self::OpenBrace),
        ("}", Self::CloseBrace),
        ("%", Self::Percent),
        ("=", Self::Equal),
        ("~", Self::Tilde),
        ("<", Self::Less),
        (">", Self::Greater),
        ("|", Self::Pipe),
        ("+", Self::Plus),
        ("-", Self::Minus),
        ("&", Self::Ampersand),
        ("*", Self::Star),
        ("/", Self::Slash),
    ];
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(name) => write!(f, "`{name}`"),
            Self::Delimited(name) => write!(f, "the name `{name}`"),
            Self::Special(name) => write!(f, "`${name}`"),
            Self::String(_) => f.write_str("a string"),
            Self::Number(digits) => write!(f, "the number {digits}"),
            Self::Date(text) | Self::DateTime(text) => write!(f, "`@{text}`"),
            Self::Time(text) => write!(f, "`@T{text}`"),
            Self::Symbol(symbol) => {
                let written = Symbol::WRITTEN.iter().find(|(_, candidate)| candidate == symbol);
                write!(f, "`{}`", written.map_or("", |(text, _)| text))
            }
            Self::End => f.write_str("the end of the expression"),
        }
    }
}

pub(in crate::transform::fhirpath) struct Lexer<'e> {
    text: &'e str,
    at: usize,
}

impl<'e> Lexer<'e> {
    pub(in crate::transform::fhirpath) const fn new(text: &'e str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and the bytes before it.
    pub(in crate::transform::fhirpath) fn next(&mut self) -> Result<(usize, Token), Fault> {
        self.skip_blank()?;
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok((start, Token::End)) };
        let token = match first {
            'A'..='Z' | 'a'..='z' | '_' => Token::Word(self.take_word().to_owned()),
            '$' => {
                self.at += 1;
                Token::Special(self.take_word().to_owned())
            }
            '0'..='9' => Token::Number(self.take_number().to_owned()),
            '\'' | '"' => Token::String(self.take_quoted(first)?),
            '`' => Token::Delimited(self.take_quoted(first)?),
            '@' => self.take_temporal(),
            _ => self.take_symbol()?,
        };
        Ok((start, token))
    }

    fn rest(&self) -> &'e str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'e str {
        let rest = self.rest();
        let length = rest.find(|letter| !belongs(letter)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn take_word(&mut self) -> &'e str {
        self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    }

    fn take_number(&mut self) -> &'e str {
        let start = self.at;
        self.take_while(|letter| letter.is_ascii_digit());
        let mut after = self.rest().chars();
        if after.next() == Some('.') && after.next().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|letter| letter.is_ascii_digit());
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn take_temporal(&mut self) -> Token {
        self.at += 1;
        if self.rest().starts_with('T') {
            self.at += 1;
            return Token::Time(self.take_clock());
        }
        let mut text =
            self.take_while(|letter| letter.is_ascii_digit() || letter == '-').to_owned();
        if !self.rest().starts_with('T') {
            return Token::Date(text);
        }
        self.at += 1;
        text.push('T');
        text += &self.take_clock();
        if self.rest().starts_with('Z') {
            self.at += 1;
            text.push('Z');
        } else if let Some(offset) = self.rest().get(..6)
            && offset.starts_with(['+', '-'])
            && offset.as_bytes().get(3) == Some(&b':')
        {
            self.at += offset.len();
            text += offset;
        }
        Token::DateTime(text)
    }

    /// Digits, colons and a fraction; a dot that no digit follows begins an invocation.
    fn take_clock(&mut self) -> String {
        let mut text = self.take_while(|l| l.is_ascii_digit() || l == ':').to_owned();
        let mut after = self.rest().chars();
        if after.next() == Some('.') && after.next().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
            text.push('.');
            text += self.take_while(|letter| letter.is_ascii_digit());
        }
        text
    }

    fn take_symbol(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let Some((written, symbol)) =
            Symbol::WRITTEN.iter().find(|(written, _)| rest.starts_with(written))
        else {
            let found = rest.chars().next().unwrap_or_default();
            let expected = "a name, a literal or an operator".to_owned();
            return Err((self.at, PathProblem::Syntax { expected, found: format!("`{found}`") }));
        };
        self.at += written.len();
        Ok(Token::Symbol(*symbol))
    }

    fn skip_blank(&mut self) -> Result<(), Fault> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.take_while(|letter| letter != '\n' && letter != '\r');
            } else if self.rest().starts_with("/*") {
                let Some(length) = self.rest().find("*/") else {
                    let expected = "`*/` that ends the comment".to_owned();
                    let found = Token::End.to_string();
                    return Err((self.at, PathProblem::Syntax { expected, found }));
                };
                self.at += length + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn take_quoted(&mut self, quote: char) -> Result<String, Fault> {
        let start = self.at;
        let unfinished = || {
            let expected = format!("`{quote}` that ends the text");
            (start, PathProblem::Syntax { expected, found: Token::End.to_string() })
        };
        self.at += quote.len_utf8();
        let mut text = String::new();
        loop {
            let letter = self.rest().chars().next().ok_or_else(unfinished)?;
            self.at += letter.len_utf8();
            if letter == quote {
                return Ok(text);
            }
            if letter == '\\' {
                text.push(self.take_escape(start)?);
            } else {
                text.push(letter);
            }
        }
    }

    fn take_escape(&mut self, start: usize) -> Result<char, Fault> {
        let invalid = (start, PathProblem::Literal { literal: "string: unknown escape" });
        let Some(letter) = self.rest().chars().next() else { return Err(invalid) };
        self.at += letter.len_utf8();
        Ok(match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'f' => '\u{c}',
            '\\' | '/' | '\'' | '"' | '`' => letter,
            'u' => {
                let code = self.rest().get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                let Some(unicode) = code.and_then(char::from_u32) else { return Err(invalid) };
                self.at += 4;
                unicode
            }
            _ => return Err(invalid),
        })
    }
}
