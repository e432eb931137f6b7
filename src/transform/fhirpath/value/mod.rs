//! Values, and what is computed of values alone: nothing here knows of programs.

pub(super) mod arithmetic;
pub(super) mod boundary;
pub(super) mod calendar;
pub(super) mod compare;
pub(super) mod convert;
pub(super) mod encode;
pub(super) mod item;
pub(super) mod math;
pub(super) mod number;
pub(super) mod quantity;
pub(super) mod reflect;
pub(super) mod temporal;
mod units;
