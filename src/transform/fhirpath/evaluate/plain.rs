//! The short way of plain paths: elements, one after the other, and `first()`.
//!
//! In: a program and the node it is evaluated on. Out: the one node it leads to, or that it leads
//! to none. Where a value of several is gone on from, something stands beside a primitive, or the
//! program asks for more, it says nothing, and the program is to be run. It makes no items: to
//! make and move them costs more than to find a member.

use sonic_rs::{JsonContainerTrait as _, JsonType, JsonValueTrait as _};

use super::navigate::{Members, nodes};
use crate::model::Node;
use crate::transform::fhirpath::function::Function;
use crate::transform::fhirpath::program::{Program, Step};
use crate::transform::fhirpath::types::Element;

/// Where a plain path leads to.
#[derive(Clone, Copy)]
pub(in crate::transform::fhirpath) enum Reached<'d> {
    Nothing,
    One(&'d Node),
    /// Several, as they are in the document, nulls included.
    Listed(&'d [Node]),
}

/// Where a program leads to from a node with nothing beside it; `None` if it must be run. What
/// this takes is bounded by the document: each step goes a level down.
pub(in crate::transform::fhirpath) fn reach<'d>(
    program: &Program,
    from: &'d Node,
    members: &Members<'d>,
) -> Option<Reached<'d>> {
    match program {
        Program::This => Some(Reached::One(from)),
        Program::Navigate { from: input, steps } => {
            let mut reached = reach(input, from, members)?;
            for step in steps {
                let Step::Known(element) = step else { return None };
                reached = match reached {
                    Reached::Nothing => return Some(Reached::Nothing),
                    Reached::One(node) => go(node, element, members)?,
                    Reached::Listed(_) => return None,
                };
            }
            Some(reached)
        }
        Program::Call { input, signature, .. } if signature.function == Function::First => {
            Some(match reach(input, from, members)? {
                Reached::Listed(nodes) => {
                    nodes.iter().find(|node| !node.is_null()).map_or(Reached::Nothing, Reached::One)
                }
                single => single,
            })
        }
        _ => None,
    }
}

/// A step further.
fn go<'d>(node: &'d Node, element: &'static Element, members: &Members<'d>) -> Option<Reached<'d>> {
    let Some(object) = node.as_object() else { return Some(Reached::Nothing) };
    let found = members.find(object, element);
    if found.sidecar.is_some() {
        return None;
    }
    let Some(value) = found.value else { return Some(Reached::Nothing) };
    Some(match value.get_type() {
        JsonType::Null => Reached::Nothing,
        JsonType::Array => match nodes(found.value) {
            [] => Reached::Nothing,
            [only] if only.is_null() => Reached::Nothing,
            [only] => Reached::One(only),
            several => Reached::Listed(several),
        },
        _ => Reached::One(value),
    })
}
