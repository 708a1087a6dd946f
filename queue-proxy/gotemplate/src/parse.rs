//! The parser: tokens to nodes, and what Go refuses before execution: unknown functions and variables, stray `end`s,
//! `break` outside of `range`, operands that cannot follow each other.

mod pipeline;

use std::collections::HashMap;

use crate::{
    ParseError,
    lex::{self, Keyword, Kind, Token},
    node::{Branch, Node, Pipeline},
    unquote,
};

/// Actions and parentheses inside of each other (Go: 10,000 parentheses, actions without bound).
pub const MAX_NESTING: usize = 200;

/// Every template that `text` defines; what lies outside of definitions is called `name`.
pub(crate) fn parse(name: &str, text: &str) -> Result<HashMap<String, Vec<Node>>, ParseError> {
    let mut parser = Parser {
        text,
        tokens: lex::tokens(text),
        at: 0,
        scope: Scope::default(),
        nesting: 0,
        all: HashMap::new(),
    };
    let list = parser.top()?;
    parser.add(name.to_owned(), list)?;
    Ok(parser.all)
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    at: usize,
    scope: Scope,
    nesting: usize,
    all: HashMap<String, Vec<Node>>,
}

/// What one template sees: nothing of those around it.
struct Scope {
    variables: Vec<String>,
    /// `range`s around.
    ranges: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            variables: vec!["$".to_owned()],
            ranges: 0,
        }
    }
}

type Parsed<T> = Result<T, ParseError>;

/// How a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    End,
    Else,
}

/// A node, or what closes the list that it would be in.
enum Item {
    Node(Node),
    Close(Closed),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl<'t> Parser<'t> {
    /// The last token, which is the end or an error, is never passed.
    fn next(&mut self) -> Token<'t> {
        let token = self.tokens[self.at];
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn peek(&self) -> Token<'t> {
        self.tokens[self.at]
    }

    fn skip_spaces(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next();
        }
    }

    fn next_word(&mut self) -> Token<'t> {
        self.skip_spaces();
        self.next()
    }

    fn peek_word(&mut self) -> Token<'t> {
        self.skip_spaces();
        self.peek()
    }

    fn error(&self, at: usize, what: impl Into<String>) -> ParseError {
        ParseError {
            line: 1 + self.text[..at.min(self.text.len())].matches('\n').count(),
            what: what.into(),
        }
    }

    fn unexpected<T>(&self, token: Token<'_>, place: &str) -> Parsed<T> {
        let what = match token.kind {
            Kind::Error => token.text.to_owned(),
            Kind::End => format!("unexpected end in {place}"),
            _ => format!("unexpected {:.30?} in {place}", token.text),
        };
        Err(self.error(token.at, what))
    }

    fn expect(&mut self, kind: Kind, place: &str) -> Parsed<Token<'t>> {
        let token = self.next_word();
        if token.kind == kind {
            Ok(token)
        } else {
            self.unexpected(token, place)
        }
    }

    fn enter(&mut self, at: usize) -> Parsed<()> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(at, format!("nested deeper than {MAX_NESTING}")));
        }
        Ok(())
    }

    /// All of the text; definitions stand only here.
    fn top(&mut self) -> Parsed<Vec<Node>> {
        let mut list = Vec::new();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::LeftDelimiter {
                let before = self.at;
                self.next();
                if self.next_word().kind == Kind::Keyword(Keyword::Define) {
                    self.definition()?;
                    continue;
                }
                self.at = before;
            }
            let at = self.peek().at;
            match self.item()? {
                Item::Node(node) => list.push(node),
                Item::Close(_) => return Err(self.error(at, "unexpected {{end}} or {{else}}")),
            }
        }
        Ok(list)
    }

    fn definition(&mut self) -> Parsed<()> {
        let place = "define clause";
        let name = self.name(place)?;
        self.expect(Kind::RightDelimiter, place)?;
        self.body(name, place)
    }

    /// A template of its own up to its `end`.
    fn body(&mut self, name: String, place: &str) -> Parsed<()> {
        let outer = std::mem::take(&mut self.scope);
        let at = self.peek().at;
        let (list, closed) = self.list()?;
        if closed != Closed::End {
            return Err(self.error(at, format!("unexpected {{{{else}}}} in {place}")));
        }
        self.add(name, list)?;
        self.scope = outer;
        Ok(())
    }

    /// A template may be defined again only where one of both is empty; the empty one gives way.
    fn add(&mut self, name: String, list: Vec<Node>) -> Parsed<()> {
        let is_empty = |list: &[Node]| {
            let mut nodes = list.iter();
            nodes.all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.all.get(&name) {
            Some(old) if !is_empty(old) => {
                if !is_empty(&list) {
                    let at = self.peek().at;
                    return Err(self.error(at, format!("multiple definition of template {name:?}")));
                }
            }
            _ => drop(self.all.insert(name, list)),
        }
        Ok(())
    }

    fn name(&mut self, place: &str) -> Parsed<String> {
        let token = self.next_word();
        if !matches!(token.kind, Kind::Quoted | Kind::RawText) {
            return self.unexpected(token, place);
        }
        let bytes = self.unquoted(token)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn unquoted(&self, token: Token<'_>) -> Parsed<Vec<u8>> {
        unquote::string(token.text).ok_or_else(|| self.error(token.at, "invalid syntax in a quoted string"))
    }

    /// Nodes up to an `end` or `else`.
    fn list(&mut self) -> Parsed<(Vec<Node>, Closed)> {
        let mut list = Vec::new();
        while self.peek_word().kind != Kind::End {
            match self.item()? {
                Item::Node(node) => list.push(node),
                Item::Close(closed) => return Ok((list, closed)),
            }
        }
        Err(self.error(self.peek().at, "unexpected end of the template: an {{end}} is missing"))
    }

    fn item(&mut self) -> Parsed<Item> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.to_owned()))),
            Kind::LeftDelimiter => self.action(),
            _ => self.unexpected(token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.peek_word();
        let Kind::Keyword(keyword) = token.kind else {
            return self.print();
        };
        if matches!(keyword, Keyword::Nil | Keyword::Define) {
            return self.print();
        }
        self.next();
        self.enter(token.at)?;
        let item = match keyword {
            Keyword::Block => self.block().map(Item::Node),
            Keyword::Break => self.jump(token, Node::Break).map(Item::Node),
            Keyword::Continue => self.jump(token, Node::Continue).map(Item::Node),
            Keyword::Else => self.close_else().map(|()| Item::Close(Closed::Else)),
            Keyword::End => self
                .expect(Kind::RightDelimiter, "end")
                .map(|_| Item::Close(Closed::End)),
            Keyword::If => self.control(Control::If).map(Item::Node),
            Keyword::Range => self.control(Control::Range).map(Item::Node),
            Keyword::With => self.control(Control::With).map(Item::Node),
            Keyword::Template => self.template().map(Item::Node),
            Keyword::Nil | Keyword::Define => self.print(),
        };
        self.nesting -= 1;
        item
    }

    fn print(&mut self) -> Parsed<Item> {
        let pipeline = self.pipeline("command", Kind::RightDelimiter)?;
        Ok(Item::Node(Node::Print(pipeline)))
    }

    fn jump(&mut self, keyword: Token<'_>, node: Node) -> Parsed<Node> {
        self.expect(Kind::RightDelimiter, keyword.text)?;
        if self.scope.ranges == 0 {
            return Err(self.error(keyword.at, format!("{{{{{}}}}} outside {{{{range}}}}", keyword.text)));
        }
        Ok(node)
    }

    /// `else`, alone or before an `if` or `with` that is read later.
    fn close_else(&mut self) -> Parsed<()> {
        if !matches!(self.peek_word().kind, Kind::Keyword(Keyword::If | Keyword::With)) {
            self.expect(Kind::RightDelimiter, "else")?;
        }
        Ok(())
    }

    fn control(&mut self, control: Control) -> Parsed<Node> {
        let (place, again) = match control {
            Control::If => ("if", Some(Keyword::If)),
            Control::With => ("with", Some(Keyword::With)),
            Control::Range => ("range", None),
        };
        let visible = self.scope.variables.len();
        let pipeline = self.pipeline(place, Kind::RightDelimiter)?;
        let ranges = usize::from(control == Control::Range);
        self.scope.ranges += ranges;
        let (list, closed) = self.list()?;
        self.scope.ranges -= ranges;
        let otherwise = match closed {
            Closed::End => None,
            Closed::Else => Some(self.otherwise(control, again)?),
        };
        self.scope.variables.truncate(visible);
        let branch = Branch {
            pipeline,
            list,
            otherwise,
        };
        Ok(match control {
            Control::If => Node::If(branch),
            Control::With => Node::With(branch),
            Control::Range => Node::Range(branch),
        })
    }

    /// What follows an `else`; `else if` and `else with` share the `end` of what they begin.
    fn otherwise(&mut self, control: Control, again: Option<Keyword>) -> Parsed<Vec<Node>> {
        let token = self.peek();
        if again.is_some_and(|again| token.kind == Kind::Keyword(again)) {
            self.next();
            self.enter(token.at)?;
            let node = self.control(control)?;
            self.nesting -= 1;
            return Ok(vec![node]);
        }
        let (list, closed) = self.list()?;
        if closed == Closed::Else {
            return Err(self.error(token.at, "expected end; found {{else}}"));
        }
        Ok(list)
    }

    fn block(&mut self) -> Parsed<Node> {
        let place = "block clause";
        let name = self.name(place)?;
        let data = self.pipeline(place, Kind::RightDelimiter)?;
        self.body(name.clone(), place)?;
        Ok(Node::Template { name, data: Some(data) })
    }

    fn template(&mut self) -> Parsed<Node> {
        let place = "template clause";
        let name = self.name(place)?;
        let data: Option<Pipeline> = if self.peek_word().kind == Kind::RightDelimiter {
            self.next();
            None
        } else {
            Some(self.pipeline(place, Kind::RightDelimiter)?)
        };
        Ok(Node::Template { name, data })
    }
}
