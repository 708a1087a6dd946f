//! Evaluates pipelines, commands and operands.

use super::{Evaluated, Run};
use crate::{
    ExecError,
    node::{Command, Operand, Pipeline},
    value::{Param, Value},
};

impl<'v> Run<'v, '_> {
    /// The value of a pipeline; its variables stay for what follows.
    pub(super) fn pipeline(&mut self, dot: &Value<'v>, pipeline: Option<&'v Pipeline>) -> Evaluated<Value<'v>> {
        let Some(pipeline) = pipeline else {
            return Ok(Value::Nil);
        };
        self.deeper(|run| {
            let mut last = None;
            for command in &pipeline.commands {
                last = Some(run.command(dot, command, last)?);
            }
            let value = last.unwrap_or(Value::Nil);
            for name in &pipeline.variables {
                if pipeline.assigns {
                    run.assign(name, value.clone())?;
                } else {
                    run.variables.push((name, value.clone()));
                }
            }
            Ok(value)
        })
    }

    /// `last`: the value of the command before, which becomes the last argument.
    fn command(&mut self, dot: &Value<'v>, command: &'v Command, last: Option<Value<'v>>) -> Evaluated<Value<'v>> {
        self.work(0)?;
        let arguments = &command.arguments[..];
        match &command.first {
            Operand::Function(function) => return self.function(dot, *function, arguments, last),
            Operand::Field(names) => return self.chain(dot, dot.clone(), names, arguments, last),
            Operand::Chain(inner, names) => {
                let receiver = self.argument(dot, Param::Any, inner)?;
                return self.chain(dot, receiver, names, arguments, last);
            }
            Operand::Variable(name, names) if !names.is_empty() => {
                let receiver = self.variable(name)?;
                return self.chain(dot, receiver, names, arguments, last);
            }
            _ => {}
        }
        if !arguments.is_empty() || last.is_some() {
            return Err(ExecError::new("can't give argument to non-function"));
        }
        match &command.first {
            Operand::Nil => Err(ExecError::new("nil is not a command")),
            operand => self.argument(dot, Param::Any, operand),
        }
    }

    fn variable(&self, name: &str) -> Evaluated<Value<'v>> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| ExecError::new(format!("undefined variable: {name}")))
    }

    /// An operand where a parameter stands.
    pub(super) fn argument(&mut self, dot: &Value<'v>, param: Param, operand: &'v Operand) -> Evaluated<Value<'v>> {
        let value = match operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Field(names) => self.chain(dot, dot.clone(), names, &[], None)?,
            Operand::Variable(name, names) => {
                let receiver = self.variable(name)?;
                if names.is_empty() {
                    receiver
                } else {
                    self.chain(dot, receiver, names, &[], None)?
                }
            }
            Operand::Function(function) => self.function(dot, *function, &[], None)?,
            Operand::Pipeline(inner) => self.pipeline(dot, Some(inner))?,
            Operand::Chain(inner, names) => {
                let receiver = self.argument(dot, Param::Any, inner)?;
                self.chain(dot, receiver, names, &[], None)?
            }
            Operand::Bool(truth) => Value::Bool(*truth),
            Operand::Text(text) => Value::Text(text.as_slice().into()),
            Operand::Number(number) => match (param, number.int) {
                (Param::Int, Some(int)) => Value::Int(int),
                _ => number.value()?,
            },
        };
        fitting(value, param)
    }

    /// `.A.B.C`, whose last name may be a method with arguments.
    fn chain(
        &mut self,
        dot: &Value<'v>,
        mut receiver: Value<'v>,
        names: &'v [String],
        arguments: &'v [Operand],
        last: Option<Value<'v>>,
    ) -> Evaluated<Value<'v>> {
        let Some((name, before)) = names.split_last() else {
            return Ok(receiver);
        };
        for name in before {
            receiver = self.field(dot, &receiver, name, &[], None)?;
        }
        self.field(dot, &receiver, name, arguments, last)
    }

    fn field(
        &mut self,
        dot: &Value<'v>,
        receiver: &Value<'v>,
        name: &str,
        arguments: &'v [Operand],
        last: Option<Value<'v>>,
    ) -> Evaluated<Value<'v>> {
        let method = match receiver {
            Value::Nil => return Ok(Value::Nil),
            Value::Struct(object) => object.method(name),
            Value::Map(map) => map.method(name),
            _ => None,
        };
        if let Some(params) = method {
            let given = self.arguments(dot, params, arguments, last)?;
            return match receiver {
                Value::Struct(object) => object.call(name, &given),
                Value::Map(map) => map.call(name, &given),
                _ => Ok(Value::Nil),
            };
        }
        let value = match receiver {
            Value::Struct(object) => object.field(name),
            Value::Map(map) => Some(map.get(name.as_bytes()).unwrap_or(Value::Nil)),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            let kind = receiver.type_name();
            ExecError::new(format!("can't evaluate field {name} in type {kind}"))
        })?;
        if !arguments.is_empty() || last.is_some() {
            return Err(ExecError::new(format!("{name} has arguments but is no method")));
        }
        Ok(value)
    }

    /// As many arguments as `params`, each of its type.
    fn arguments(
        &mut self,
        dot: &Value<'v>,
        params: &'static [Param],
        arguments: &'v [Operand],
        last: Option<Value<'v>>,
    ) -> Evaluated<Vec<Value<'v>>> {
        if arguments.len() + usize::from(last.is_some()) != params.len() {
            return Err(ExecError::new("wrong number of arguments"));
        }
        let mut given = Vec::with_capacity(params.len());
        for (param, operand) in params.iter().zip(arguments) {
            given.push(self.argument(dot, *param, operand)?);
        }
        if let (Some(last), Some(param)) = (last, params.last()) {
            given.push(fitting(last, *param)?);
        }
        Ok(given)
    }

    /// A builtin function.
    fn function(
        &mut self,
        dot: &Value<'v>,
        function: crate::funcs::Function,
        arguments: &'v [Operand],
        last: Option<Value<'v>>,
    ) -> Evaluated<Value<'v>> {
        function.check_count(arguments.len() + usize::from(last.is_some()))?;
        if let Some(decisive) = function.short_circuits() {
            // Only as far as needed.
            let mut value = Value::Nil;
            for operand in arguments {
                value = self.argument(dot, Param::Any, operand)?;
                if value.is_true() == decisive {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut given = Vec::with_capacity(arguments.len() + 1);
        for operand in arguments {
            let param = function.param(given.len());
            given.push(self.argument(dot, param, operand)?);
        }
        if let Some(last) = last {
            given.push(fitting(last, function.param(given.len()))?);
        }
        let value = function.call(given)?;
        if let Value::Text(text) = &value {
            self.work(text.len())?;
        }
        Ok(value)
    }
}

fn fitting<'v>(value: Value<'v>, param: Param) -> Evaluated<Value<'v>> {
    match (param, &value) {
        (Param::Any, _) | (Param::Text, Value::Text(_)) | (Param::Int, Value::Int(_)) => Ok(value),
        (param, value) => {
            let kind = value.type_name();
            Err(ExecError::new(format!(
                "wrong type for value; expected {param:?}; got {kind}"
            )))
        }
    }
}
