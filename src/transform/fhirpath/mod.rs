//! The FHIRPath evaluator.

use std::borrow::Cow;
use std::fmt;

use bigdecimal::BigDecimal;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use crate::model::Node;

/// Placeholder.
#[derive(Debug)]
pub struct Path {
    expression: String,
    steps: Vec<String>,
}
/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("unexpected `{0}`\n  {0}\n  ^")]
pub struct PathError(String);
/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub struct EvaluationError;

/// Placeholder.
#[derive(Clone)]
pub enum Item<'d> {
    /// Node.
    Node {
        /// Node.
        node: &'d Node,
        /// Type.
        type_name: Option<&'static str>,
    },
    /// Boolean.
    Boolean(bool),
    /// Integer.
    Integer(i64),
    /// Decimal.
    Decimal(BigDecimal),
    /// String.
    String(Cow<'d, str>),
}
impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Item")
    }
}

impl Path {
    /// Placeholder.
    pub fn compile(expression: &str, context: Option<&str>) -> Result<Self, PathError> {
        let mut steps: Vec<String> = expression.split('.').map(str::to_owned).collect();
        if context.is_some_and(|context| steps[0] == context) || steps[0] == "$this" {
            steps.remove(0);
        }
        for step in &steps {
            let name = step.strip_suffix("()").unwrap_or(step);
            if name.is_empty() || !name.chars().all(char::is_alphanumeric) {
                return Err(PathError(step.clone()));
            }
        }
        Ok(Self { expression: expression.to_owned(), steps })
    }
    /// Placeholder.
    pub fn expression(&self) -> &str {
        &self.expression
    }
    /// Placeholder.
    pub fn result_type(&self) -> Option<&str> {
        None
    }
    /// Placeholder.
    pub fn evaluate<'d>(
        &self,
        _resource: &'d Node,
        focus: Item<'d>,
        out: &mut Vec<Item<'d>>,
    ) -> Result<(), EvaluationError> {
        let mut items = vec![focus];
        for step in &self.steps {
            if step == "first()" {
                items.truncate(1);
                continue;
            }
            let mut next = Vec::new();
            for item in items.drain(..) {
                let Item::Node { node, .. } = item else { continue };
                let Some(member) = node.get(step) else { continue };
                match member.as_array() {
                    Some(list) => {
                        next.extend(list.iter().map(|node| Item::Node { node, type_name: None }));
                    }
                    None => next.push(Item::Node { node: member, type_name: None }),
                }
            }
            items = next;
        }
        out.extend(items);
        Ok(())
    }
}

/// Placeholder.
pub fn convert_to_boolean(items: &[Item<'_>]) -> Result<Option<bool>, EvaluationError> {
    match items {
        [] => Ok(None),
        [Item::Boolean(value)] => Ok(Some(*value)),
        [Item::Node { node, .. }] => Ok(Some(node.as_bool().unwrap_or(true))),
        _ => Err(EvaluationError),
    }
}
