//! Executes nodes: text, actions, branches, loops, calls of templates.

mod eval;

use std::collections::HashMap;

use crate::{
    ExecError,
    buffer::{Buffer, too_long},
    fmt,
    node::{Branch, Node, Pipeline},
    value::Value,
};

/// Templates, branches and parentheses inside of each other while executing (Go: 100,000 templates).
pub const MAX_DEPTH: usize = 400;
/// Work of one execution: one for each node, command and turn of a loop, and one for each `BYTES_PER_WORK` bytes made.
pub const MAX_WORK: usize = 2_000_000;
const BYTES_PER_WORK: usize = 16;

type Evaluated<T> = Result<T, ExecError>;

/// What follows a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) fn execute<'v>(
    all: &'v HashMap<String, Vec<Node>>,
    name: &str,
    data: &Value<'v>,
    out: &mut Vec<u8>,
) -> Evaluated<()> {
    let list = all.get(name).ok_or_else(|| ExecError::new("the template is empty"))?;
    let mut run = Run {
        all,
        out,
        variables: vec![("$", data.clone())],
        depth: 0,
        work: 0,
    };
    run.list(data, list).map(drop)
}

/// One execution.
struct Run<'v, 'o> {
    all: &'v HashMap<String, Vec<Node>>,
    out: &'o mut Vec<u8>,
    /// The innermost last.
    variables: Vec<(&'v str, Value<'v>)>,
    depth: usize,
    work: usize,
}

impl<'v> Run<'v, '_> {
    fn work(&mut self, bytes: usize) -> Evaluated<()> {
        self.work += 1 + bytes / BYTES_PER_WORK;
        if self.work > MAX_WORK {
            return Err(ExecError::new("the template takes too long"));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Evaluated<()> {
        if self.out.len() + bytes.len() > crate::MAX_OUTPUT {
            return Err(too_long());
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        if self.depth >= MAX_DEPTH {
            return Err(ExecError::new("exceeded the maximum depth"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, dot: &Value<'v>, list: &'v [Node]) -> Evaluated<Flow> {
        self.deeper(|run| {
            for node in list {
                let flow = run.node(dot, node)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, dot: &Value<'v>, node: &'v Node) -> Evaluated<Flow> {
        self.work(0)?;
        match node {
            Node::Text(text) => self.write(text.as_bytes())?,
            Node::Print(pipeline) => {
                let value = self.pipeline(dot, Some(pipeline))?;
                if pipeline.variables.is_empty() {
                    self.print(&value)?;
                }
            }
            Node::If(branch) => return self.branch(dot, branch, false),
            Node::With(branch) => return self.branch(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { name, data } => self.template(dot, name, data.as_ref())?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Value<'v>) -> Evaluated<()> {
        if let Value::Text(text) = value {
            return self.write(text);
        }
        let mut buffer = Buffer::default();
        fmt::print_in_template(value, &mut buffer);
        let bytes = buffer.finish()?;
        self.work(bytes.len())?;
        self.write(&bytes)
    }

    fn branch(&mut self, dot: &Value<'v>, branch: &'v Branch, with: bool) -> Evaluated<Flow> {
        let visible = self.variables.len();
        let value = self.pipeline(dot, Some(&branch.pipeline))?;
        let flow = if value.is_true() {
            self.list(if with { &value } else { dot }, &branch.list)?
        } else {
            self.otherwise(dot, branch)?
        };
        self.variables.truncate(visible);
        Ok(flow)
    }

    fn otherwise(&mut self, dot: &Value<'v>, branch: &'v Branch) -> Evaluated<Flow> {
        match &branch.otherwise {
            Some(list) => self.list(dot, list),
            None => Ok(Flow::Next),
        }
    }

    fn range(&mut self, dot: &Value<'v>, branch: &'v Branch) -> Evaluated<Flow> {
        let visible = self.variables.len();
        let value = self.pipeline(dot, Some(&branch.pipeline))?;
        let mut any = false;
        let mut turn = |run: &mut Self, key: Value<'v>, element: Value<'v>| {
            any = true;
            run.turn(branch, key, &element)
        };
        match value {
            Value::Int(count) | Value::Int64(count) => {
                if branch.pipeline.variables.len() > 1 {
                    return Err(ExecError::new("an integer has one variable to iterate over"));
                }
                let is_int = matches!(value, Value::Int(_));
                for now in 0..count {
                    let now = if is_int { Value::Int(now) } else { Value::Int64(now) };
                    if turn(self, Value::Nil, now)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Uint8(count) => {
                for now in 0..count {
                    if turn(self, Value::Nil, Value::Uint8(now))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (index, item) in (0..).zip(list.items()) {
                    if turn(self, Value::Int(index), item.clone())? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.entries() {
                    if turn(self, Value::Text(key), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nil => {}
            _ => return Err(ExecError::new("range can't iterate over this")),
        }
        // A `break` or `continue` in the `else` belongs to a loop around this one.
        let flow = if any { Flow::Next } else { self.otherwise(dot, branch)? };
        self.variables.truncate(visible);
        Ok(flow)
    }

    /// One turn of a loop.
    fn turn(&mut self, branch: &'v Branch, key: Value<'v>, element: &Value<'v>) -> Evaluated<Flow> {
        self.work(0)?;
        let names = &branch.pipeline.variables;
        let inner = self.variables.len();
        let given = match names.len() {
            0 => vec![],
            1 => vec![element.clone()],
            _ => vec![key, element.clone()],
        };
        for (place, (name, value)) in (inner.saturating_sub(names.len())..).zip(names.iter().zip(given)) {
            if branch.pipeline.assigns {
                self.assign(name, value)?;
            } else {
                self.variables[place].1 = value;
            }
        }
        let flow = self.list(element, &branch.list)?;
        self.variables.truncate(inner);
        Ok(flow)
    }

    fn assign(&mut self, name: &str, value: Value<'v>) -> Evaluated<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = value,
            None => return Err(ExecError::new(format!("undefined variable: {name}"))),
        }
        Ok(())
    }

    fn template(&mut self, dot: &Value<'v>, name: &str, data: Option<&'v Pipeline>) -> Evaluated<()> {
        let list = self.all.get(name);
        let list = list.ok_or_else(|| ExecError::new(format!("template {name:?} not defined")))?;
        let data = self.pipeline(dot, data)?;
        // What is called sees no variables of its caller.
        let outer = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        self.list(&data, list)?;
        self.variables = outer;
        Ok(())
    }
}
