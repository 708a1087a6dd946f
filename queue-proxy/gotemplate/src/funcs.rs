//! The builtin functions.

mod collections;
mod compare;
mod escape;

use crate::{
    ExecError,
    fmt::{self, printf::printf},
    value::{Param, Value},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    And,
    Call,
    Html,
    Index,
    Slice,
    Js,
    Len,
    Not,
    Or,
    Print,
    Printf,
    Println,
    Urlquery,
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    Ne,
}

impl Function {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "and" => Self::And,
            "call" => Self::Call,
            "html" => Self::Html,
            "index" => Self::Index,
            "slice" => Self::Slice,
            "js" => Self::Js,
            "len" => Self::Len,
            "not" => Self::Not,
            "or" => Self::Or,
            "print" => Self::Print,
            "printf" => Self::Printf,
            "println" => Self::Println,
            "urlquery" => Self::Urlquery,
            "eq" => Self::Eq,
            "ge" => Self::Ge,
            "gt" => Self::Gt,
            "le" => Self::Le,
            "lt" => Self::Lt,
            "ne" => Self::Ne,
            _ => return None,
        })
    }

    /// For `and` and `or`: the truth that ends them.
    pub(crate) fn short_circuits(self) -> Option<bool> {
        match self {
            Self::And => Some(false),
            Self::Or => Some(true),
            _ => None,
        }
    }

    pub(crate) fn check_count(self, count: usize) -> Result<(), ExecError> {
        let fits = match self {
            Self::Html | Self::Js | Self::Urlquery | Self::Print | Self::Println => true,
            Self::And | Self::Or | Self::Call | Self::Index | Self::Slice | Self::Printf | Self::Eq => count >= 1,
            Self::Len | Self::Not => count == 1,
            Self::Ge | Self::Gt | Self::Le | Self::Lt | Self::Ne => count == 2,
        };
        if fits {
            Ok(())
        } else {
            Err(ExecError::new(format!(
                "wrong number of arguments for {self:?}: {count}"
            )))
        }
    }

    /// What its argument at this place must be.
    pub(crate) fn param(self, place: usize) -> Param {
        match (self, place) {
            (Self::Printf, 0) => Param::Text,
            _ => Param::Any,
        }
    }

    /// Calls it with as many arguments as [`Self::check_count`] lets pass.
    pub(crate) fn call(self, given: Vec<Value<'_>>) -> Result<Value<'_>, ExecError> {
        let truth = |truth: Result<bool, ExecError>| truth.map(Value::Bool);
        match (self, given.as_slice()) {
            (Self::Html, _) => escape::html(given),
            (Self::Js, _) => escape::js(given),
            (Self::Urlquery, _) => escape::urlquery(given),
            (Self::Print, _) => fmt::sprint(&given).map(Value::owned),
            (Self::Println, _) => fmt::sprintln(&given).map(Value::owned),
            (Self::Printf, [Value::Text(format), rest @ ..]) => printf(format, rest).map(Value::owned),
            (Self::Index, [item, keys @ ..]) => collections::index(item, keys),
            (Self::Slice, [item, bounds @ ..]) => collections::slice(item, bounds),
            (Self::Len, [item]) => collections::len(item),
            (Self::Not, [item]) => Ok(Value::Bool(!item.is_true())),
            (Self::Eq, [one, others @ ..]) => truth(compare::eq(one, others)),
            (Self::Ne, [one, _]) => truth(compare::eq(one, &given[1..]).map(|equal| !equal)),
            (Self::Lt, [one, other]) => truth(compare::lt(one, other)),
            (Self::Le, [one, other]) => truth(compare::le(one, other)),
            (Self::Gt, [one, other]) => truth(compare::le(one, other).map(|less| !less)),
            (Self::Ge, [one, other]) => truth(compare::lt(one, other).map(|less| !less)),
            (Self::Call, _) => Err(ExecError::new("there is no function to call")),
            _ => Err(ExecError::new(format!("wrong arguments for {self:?}"))),
        }
    }
}
