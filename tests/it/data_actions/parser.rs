//! Takes a template apart. Directives beyond `#if` are refused, so are escapes with `\`, comments,
//! chained methods and conditions whose meaning depends on Velocity's version.

use super::macros::Macro;
use super::template::{Argument, Condition, Malformed, Node, Reference, Target};

type Parsed<T> = Result<T, Malformed>;

/// The rest of a template.
pub struct Parser<'a> {
    rest: &'a str,
}

/// What ends a run of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Text,
    Else,
    If,
}

impl<'a> Parser<'a> {
    /// At the start of a template.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The whole template.
    pub fn whole(mut self) -> Parsed<Vec<Node>> {
        match self.run()? {
            (nodes, End::Text) => Ok(nodes),
            (_, End::Else) => wrong("`#else` without `#if`"),
            (_, End::If) => wrong("`#end` without `#if`"),
        }
    }

    /// All up to the next end of a block.
    fn run(&mut self) -> Parsed<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        loop {
            let text = self.until(['$', '#', '\\']);
            if !text.is_empty() {
                nodes.push(Node::Text(text.to_owned()));
            }
            if self.rest.is_empty() {
                return Ok((nodes, End::Text));
            }
            if self.rest.starts_with('$') {
                nodes.push(Node::Reference(self.reference()?));
            } else if self.rest.starts_with('#') {
                match self.directive()? {
                    Directive::End(end) => return Ok((nodes, end)),
                    Directive::Node(node) => nodes.push(node),
                }
            } else {
                nodes.push(Node::Text(self.backslash()?));
            }
        }
    }

    fn directive(&mut self) -> Parsed<Directive> {
        if self.takes("#if(") {
            return self.conditional().map(Directive::Node);
        }
        for (word, end) in
            [("#{else}", End::Else), ("#else", End::Else), ("#{end}", End::If), ("#end", End::If)]
        {
            if self.takes(word) {
                if !word.ends_with('}') && self.rest.starts_with(in_a_name) {
                    return wrong("a directive runs into the text behind it; write `#{end}`");
                }
                return Ok(Directive::End(end));
            }
        }
        let next = self.rest[1..].chars().next();
        if next.is_none_or(|next| next.is_alphabetic() || "#*{[@".contains(next)) {
            return wrong(&format!("`{}` is no directive known here", self.shown()));
        }
        self.rest = &self.rest[1..];
        Ok(Directive::Node(Node::Text("#".to_owned())))
    }

    fn conditional(&mut self) -> Parsed<Node> {
        let left = self.side()?;
        let equal = match (self.takes("=="), self.takes("!=")) {
            (true, _) => true,
            (false, true) => false,
            _ => return wrong("a condition compares two texts in quotes with `==` or `!=`"),
        };
        let right = self.side()?;
        if !self.takes(")") {
            return wrong("a condition is not closed");
        }
        let (then, mut end) = self.run()?;
        let mut otherwise = Vec::new();
        if end == End::Else {
            (otherwise, end) = self.run()?;
        }
        match end {
            End::If => {
                Ok(Node::If { condition: Condition { left, equal, right }, then, otherwise })
            }
            End::Else => wrong("a second `#else`"),
            End::Text => wrong("`#if` without `#end`"),
        }
    }

    /// A text in quotes, with spaces around it.
    fn side(&mut self) -> Parsed<Vec<Node>> {
        self.rest = self.rest.trim_start_matches(' ');
        let text = self.quoted()?;
        self.rest = self.rest.trim_start_matches(' ');
        text.map_or_else(|| wrong("a condition compares texts in quotes"), Ok)
    }

    /// A text in quotes, if one follows. References are replaced between double ones alone.
    fn quoted(&mut self) -> Parsed<Option<Vec<Node>>> {
        let Some(quote) = self.rest.chars().next().filter(|quote| "\"'".contains(*quote)) else {
            return Ok(None);
        };
        let Some((inside, rest)) = self.rest[1..].split_once(quote) else {
            return wrong("a text in quotes is not closed");
        };
        self.rest = rest;
        let nodes = match quote {
            '"' => Parser::new(inside).whole()?,
            _ => vec![Node::Text(inside.to_owned())],
        };
        Ok(Some(nodes))
    }

    fn reference(&mut self) -> Parsed<Reference> {
        let start = self.rest;
        self.rest = &start[1..];
        let silent = self.takes("!");
        let braced = self.takes("{");
        let path = self.path()?;
        let call = self.rest.starts_with('(');
        let target = if call { self.call(&path)? } else { Target::Path(path) };
        if braced && !self.takes("}") {
            return wrong(&format!("`{}` is not closed by `}}`", shortened(start)));
        }
        let chained = self.rest.strip_prefix('.').is_some_and(|next| next.starts_with(in_a_name));
        if call && chained {
            return wrong("methods of results are not emulated");
        }
        let source = start[..start.len() - self.rest.len()].to_owned();
        Ok(Reference { source, silent, target })
    }

    /// Names with dots between them; a dot that no name follows is text.
    fn path(&mut self) -> Parsed<Vec<String>> {
        let mut names = vec![self.name()?];
        while let Some(next) = self.rest.strip_prefix('.')
            && next.starts_with(|first: char| first.is_ascii_alphabetic())
        {
            self.rest = next;
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn name(&mut self) -> Parsed<String> {
        if !self.rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return wrong(&format!("a `$` that begins no variable, before `{}`", self.shown()));
        }
        let end = self.rest.find(|c: char| !in_a_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn call(&mut self, path: &[String]) -> Parsed<Target> {
        let [tool, method] = path else {
            return wrong(&format!("`{}` is no macro", path.join(".")));
        };
        let Some(called) = Macro::named(tool, method) else {
            return wrong(&format!("`{tool}.{method}` is no macro"));
        };
        self.rest = &self.rest[1..];
        let argument = match self.quoted()? {
            Some(nodes) => Argument::Text(nodes),
            None if self.rest.starts_with('$') => Argument::Reference(self.reference()?),
            None => return wrong(&format!("`{tool}.{method}` takes a variable or a text")),
        };
        if !self.takes(")") {
            return wrong(&format!("`{tool}.{method}` is not closed after its one argument"));
        }
        Ok(Target::Call(called, Box::new(argument)))
    }

    /// A `\` is text, but before what it would escape.
    fn backslash(&mut self) -> Parsed<String> {
        self.rest = &self.rest[1..];
        if self.rest.starts_with(['$', '#', '\\']) {
            return wrong("escapes with `\\` differ between versions and are not emulated");
        }
        Ok("\\".to_owned())
    }

    fn until(&mut self, ends: [char; 3]) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text
    }

    fn takes(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn shown(&self) -> String {
        shortened(self.rest)
    }
}

enum Directive {
    Node(Node),
    End(End),
}

fn in_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn shortened(text: &str) -> String {
    text.chars().take(20).collect()
}

fn wrong<T>(what: &str) -> Parsed<T> {
    Err(Malformed(what.to_owned()))
}
