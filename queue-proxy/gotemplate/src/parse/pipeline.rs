//! Pipelines: declarations, commands between `|`, operands.

use super::{Parsed, Parser};
use crate::{
    funcs::Function,
    lex::{Keyword, Kind, Token},
    node::{Command, Operand, Pipeline},
    number::Number,
};

impl Parser<'_> {
    /// A pipeline and the token that ends it.
    pub(super) fn pipeline(&mut self, place: &str, end: Kind) -> Parsed<Pipeline> {
        let mut pipeline = Pipeline::default();
        self.declarations(&mut pipeline, place)?;
        loop {
            let token = self.peek_word();
            if token.kind == end {
                self.next();
                break;
            }
            if !begins_operand(token.kind) {
                return self.unexpected(token, place);
            }
            let command = self.command()?;
            if !pipeline.commands.is_empty() && is_constant(&command.first) {
                let stage = pipeline.commands.len() + 1;
                return Err(self.error(token.at, format!("non executable command in pipeline stage {stage}")));
            }
            pipeline.commands.push(command);
        }
        if pipeline.commands.is_empty() {
            return Err(self.error(self.peek().at, format!("missing value for {place}")));
        }
        Ok(pipeline)
    }

    /// `$x :=`, `$x =`, and for `range` also two of them.
    fn declarations(&mut self, pipeline: &mut Pipeline, place: &str) -> Parsed<()> {
        loop {
            let variable = self.peek_word();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let before = self.at;
            self.next();
            let next = self.peek_word();
            let comma = next.kind == Kind::Punctuation && next.text == ",";
            if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                self.at = before;
                return Ok(());
            }
            self.next();
            pipeline.assigns = next.kind == Kind::Assign;
            pipeline.variables.push(variable.text.to_owned());
            self.scope.variables.push(variable.text.to_owned());
            if !comma {
                return Ok(());
            }
            if place != "range" || pipeline.variables.len() >= 2 {
                return Err(self.error(next.at, format!("too many declarations in {place}")));
            }
            let after = self.peek_word().kind;
            if !matches!(after, Kind::Variable | Kind::RightDelimiter | Kind::RightParen) {
                return Err(self.error(next.at, "range can only initialize variables"));
            }
        }
    }

    /// Operands with spaces between, up to a `|`, which is taken, or an end, which is not.
    fn command(&mut self) -> Parsed<Command> {
        let at = self.peek().at;
        let mut operands = Vec::new();
        loop {
            operands.extend(self.operand()?);
            let token = self.peek();
            match token.kind {
                Kind::Space => {
                    self.next();
                }
                Kind::Pipe => {
                    self.next();
                    break;
                }
                Kind::RightDelimiter | Kind::RightParen => break,
                _ => return self.unexpected(token, "operand"),
            }
        }
        let mut operands = operands.into_iter();
        let first = operands.next().ok_or_else(|| self.error(at, "empty command"))?;
        Ok(Command {
            first,
            arguments: operands.collect(),
        })
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let at = self.peek().at;
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        Ok(Some(match term {
            Operand::Field(mut names) => {
                names.append(&mut fields);
                Operand::Field(names)
            }
            Operand::Variable(name, _) => Operand::Variable(name, fields),
            constant if is_constant(&constant) => return Err(self.error(at, "unexpected . after a constant")),
            term => Operand::Chain(Box::new(term), fields),
        }))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.peek_word();
        let operand = match token.kind {
            Kind::Identifier => Operand::Function(self.function(token)?),
            Kind::Dot => Operand::Dot,
            Kind::Keyword(Keyword::Nil) => Operand::Nil,
            Kind::Bool => Operand::Bool(token.text == "true"),
            Kind::Field => Operand::Field(vec![token.text[1..].to_owned()]),
            Kind::Variable => {
                if !self.scope.variables.iter().any(|name| name == token.text) {
                    return Err(self.error(token.at, format!("undefined variable {:?}", token.text)));
                }
                Operand::Variable(token.text.to_owned(), Vec::new())
            }
            Kind::Char | Kind::Number | Kind::Complex => Operand::Number(self.number(token)?),
            Kind::Quoted | Kind::RawText => Operand::Text(self.unquoted(token)?),
            Kind::LeftParen => {
                self.next();
                self.enter(token.at)?;
                let inner = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.nesting -= 1;
                return Ok(Some(Operand::Pipeline(Box::new(inner))));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(operand))
    }

    fn function(&self, token: Token<'_>) -> Parsed<Function> {
        Function::named(token.text)
            .ok_or_else(|| self.error(token.at, format!("function {:.60?} not defined", token.text)))
    }

    fn number(&self, token: Token<'_>) -> Parsed<Number> {
        let number = match token.kind {
            Kind::Char => Number::character(token.text),
            Kind::Number => Number::parse(token.text),
            _ => None,
        };
        number.ok_or_else(|| self.error(token.at, format!("no constant of a known type: {:.60?}", token.text)))
    }
}

fn begins_operand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool
            | Kind::Char
            | Kind::Complex
            | Kind::Dot
            | Kind::Field
            | Kind::Identifier
            | Kind::Number
            | Kind::Keyword(Keyword::Nil)
            | Kind::RawText
            | Kind::Quoted
            | Kind::Variable
            | Kind::LeftParen
    )
}

fn is_constant(operand: &Operand) -> bool {
    matches!(
        operand,
        Operand::Bool(_) | Operand::Dot | Operand::Nil | Operand::Number(_) | Operand::Text(_)
    )
}
