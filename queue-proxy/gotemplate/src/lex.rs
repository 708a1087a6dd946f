//! Cuts a template into tokens: text outside of `{{ }}`, and the words inside.
//!
//! Trim markers (`{{- ` and ` -}}`) and comments end here.

/// What follows the left delimiter, or precedes the right one, to trim the text beside it; with a space between.
const TRIM: char = '-';
const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const COMMENT: &str = "/*";
const COMMENT_END: &str = "*/";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The text is the error's; no token follows.
    Error,
    End,
    Text,
    LeftDelimiter,
    RightDelimiter,
    LeftParen,
    RightParen,
    Space,
    Pipe,
    Assign,
    Declare,
    Punctuation,
    Bool,
    Char,
    Number,
    Complex,
    Quoted,
    RawText,
    Identifier,
    /// With its dot.
    Field,
    /// With its dollar.
    Variable,
    Dot,
    Keyword(Keyword),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind,
    pub(crate) text: &'t str,
    pub(crate) at: usize,
}

/// All tokens; the last one is [`Kind::End`] or [`Kind::Error`].
pub(crate) fn tokens(input: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        input,
        at: 0,
        start: 0,
        depth: 0,
        tokens: Vec::new(),
    };
    if let Err(error) = lexer.text() {
        lexer.tokens.push(Token {
            kind: Kind::Error,
            text: error,
            at: lexer.start,
        });
    }
    lexer.tokens
}

struct Lexer<'t> {
    input: &'t str,
    at: usize,
    start: usize,
    /// Open parentheses.
    depth: usize,
    tokens: Vec<Token<'t>>,
}

type Lexed = Result<(), &'static str>;

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.input[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, accepted: impl Fn(char) -> bool) -> bool {
        let found = self.peek().is_some_and(accepted);
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, accepted: impl Fn(char) -> bool) {
        while self.accept(&accepted) {}
    }

    fn emit(&mut self, kind: Kind) {
        self.tokens.push(Token {
            kind,
            text: &self.input[self.start..self.at],
            at: self.start,
        });
        self.start = self.at;
    }

    /// Everything, beginning outside of actions.
    fn text(&mut self) -> Lexed {
        while let Some(found) = self.rest().find(LEFT) {
            let left = self.at + found;
            let after = &self.input[left + LEFT.len()..];
            let trims = starts_with_left_trim(after);
            let text = &self.input[self.at..left];
            let kept = if trims { text.trim_end_matches(SPACES) } else { text };
            if !kept.is_empty() {
                self.at += kept.len();
                self.emit(Kind::Text);
            }
            self.at = left + LEFT.len();
            self.start = left;
            let marker = if trims { 2 } else { 0 };
            if after[marker..].starts_with(COMMENT) {
                self.at += marker;
                self.comment()?;
            } else {
                self.emit(Kind::LeftDelimiter);
                self.at += marker;
                self.start = self.at;
                self.depth = 0;
                self.action()?;
            }
        }
        self.at = self.input.len();
        if self.at > self.start {
            self.emit(Kind::Text);
        }
        self.emit(Kind::End);
        Ok(())
    }

    fn comment(&mut self) -> Lexed {
        self.at += COMMENT.len();
        let end = self.rest().find(COMMENT_END).ok_or("unclosed comment")?;
        self.at += end + COMMENT_END.len();
        let trims = self.right_delimiter().ok_or("comment ends before closing delimiter")?;
        self.leave_action(trims);
        self.start = self.at;
        Ok(())
    }

    /// Whether the right delimiter is here, and whether it trims.
    fn right_delimiter(&self) -> Option<bool> {
        let rest = self.rest();
        if is_right_trim(rest) {
            Some(true)
        } else {
            rest.starts_with(RIGHT).then_some(false)
        }
    }

    fn leave_action(&mut self, trims: bool) {
        self.at += RIGHT.len();
        if trims {
            self.at += 2;
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(SPACES).len();
        }
    }

    /// The inside of an action and its right delimiter.
    fn action(&mut self) -> Lexed {
        loop {
            if let Some(trims) = self.right_delimiter() {
                if self.depth > 0 {
                    return Err("unclosed left paren");
                }
                let after = if trims { self.at + 2 } else { self.at };
                self.start = after;
                let token = Token {
                    kind: Kind::RightDelimiter,
                    text: RIGHT,
                    at: after,
                };
                self.tokens.push(token);
                self.leave_action(trims);
                self.start = self.at;
                return Ok(());
            }
            self.word()?;
        }
    }

    fn word(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return Err("unclosed action");
        };
        match c {
            c if SPACES.contains(&c) => self.spaces(),
            '=' => self.emit(Kind::Assign),
            ':' => {
                if !self.accept(|c| c == '=') {
                    return Err("expected :=");
                }
                self.emit(Kind::Declare);
            }
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::Char, "unterminated character constant")?,
            '`' => {
                let end = self.rest().find('`').ok_or("unterminated raw quoted string")?;
                self.at += end + 1;
                self.emit(Kind::RawText);
            }
            '$' => self.name(Kind::Variable, Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) && self.peek().is_some() => {
                self.name(Kind::Field, Kind::Dot)?;
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.at = self.start;
                self.number()?;
            }
            c if is_alphanumeric(c) => self.identifier()?,
            '(' => {
                self.emit(Kind::LeftParen);
                self.depth += 1;
            }
            ')' => {
                self.emit(Kind::RightParen);
                self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
            }
            ' '..='~' => self.emit(Kind::Punctuation),
            _ => return Err("unrecognized character in action"),
        }
        Ok(())
    }

    /// The rest of a run of spaces, up to a trimming right delimiter.
    fn spaces(&mut self) {
        // The one that was read may already belong to the delimiter's marker: `action` has looked.
        while self.peek().is_some_and(|c| SPACES.contains(&c)) && !is_right_trim(self.rest()) {
            self.next();
        }
        self.emit(Kind::Space);
    }

    fn quoted(&mut self, end: char, kind: Kind, unterminated: &'static str) -> Lexed {
        loop {
            match self.next() {
                None | Some('\n') => return Err(unterminated),
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return Err(unterminated);
                    }
                }
                Some(c) if c == end => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    /// A field or variable, whose first character was read; `alone` if nothing follows that.
    fn name(&mut self, kind: Kind, alone: Kind) -> Lexed {
        if self.is_at_terminator() {
            self.emit(alone);
            return Ok(());
        }
        self.accept_run(is_alphanumeric);
        if !self.is_at_terminator() {
            return Err("bad character after a name");
        }
        self.emit(kind);
        Ok(())
    }

    fn identifier(&mut self) -> Lexed {
        self.accept_run(is_alphanumeric);
        if !self.is_at_terminator() {
            return Err("bad character after a name");
        }
        let kind = match &self.input[self.start..self.at] {
            "true" | "false" => Kind::Bool,
            word => keyword(word).map_or(Kind::Identifier, Kind::Keyword),
        };
        self.emit(kind);
        Ok(())
    }

    /// Whether a name may end here: `$x+2` is no sum.
    fn is_at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => SPACES.contains(&c) || self.rest().starts_with(RIGHT),
        }
    }

    fn number(&mut self) -> Lexed {
        const BAD: &str = "bad number syntax";
        if !self.scan_number() {
            return Err(BAD);
        }
        if matches!(self.peek(), Some('+' | '-')) {
            if !self.scan_number() || !self.input[..self.at].ends_with('i') {
                return Err(BAD);
            }
            self.emit(Kind::Complex);
        } else {
            self.emit(Kind::Number);
        }
        Ok(())
    }

    /// Takes what may be a number; whether it is one is found when its value is read.
    fn scan_number(&mut self) -> bool {
        let is = |set: &'static str| move |c: char| set.contains(c);
        self.accept(is("+-"));
        let mut digits = "0123456789_";
        if self.accept(is("0")) {
            if self.accept(is("xX")) {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept(is("oO")) {
                digits = "01234567_";
            } else if self.accept(is("bB")) {
                digits = "01_";
            }
        }
        self.accept_run(is(digits));
        if self.accept(is(".")) {
            self.accept_run(is(digits));
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if self.accept(is(exponent)) {
            self.accept(is("+-"));
            self.accept_run(is("0123456789_"));
        }
        self.accept(is("i"));
        !self.peek().is_some_and(is_alphanumeric)
    }
}

fn starts_with_left_trim(after: &str) -> bool {
    let mut chars = after.chars();
    chars.next() == Some(TRIM) && chars.next().is_some_and(|c| SPACES.contains(&c))
}

/// Whether ` -}}` is here.
fn is_right_trim(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next().is_some_and(|c| SPACES.contains(&c)) && chars.next() == Some(TRIM) && chars.as_str().starts_with(RIGHT)
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "nil" => Keyword::Nil,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return None,
    })
}
