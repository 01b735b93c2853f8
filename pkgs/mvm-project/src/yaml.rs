//! YAML with positions, bounded: aliases share what they name, so that they can't multiply it.

use crate::position::Position;
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;
use std::rc::Rc;

/// Nodes of one file.
const NODES_MAX: usize = 50_000;
/// Nodes within nodes.
const DEPTH_MAX: usize = 64;

/// A node, and its line from 1.
#[derive(Clone, Debug)]
pub struct Node {
    pub data: Data,
    pub line: usize,
}

#[derive(Clone, Debug)]
pub enum Data {
    /// A scalar's text; true if it was not quoted, so that it may be a number, a boolean or nothing.
    Scalar(Rc<str>, bool),
    List(Rc<Vec<Node>>),
    Map(Rc<Vec<(Rc<str>, Node)>>),
}

/// Reads the first document of `text`.
///
/// Errors: syntax, or too large; the text says where.
pub fn parse(file: &str, text: &str) -> Result<Option<Node>, (Position, String)> {
    let mut loader = Loader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let position = Position::line(file, error.marker().line());
            (position, error.info().to_owned())
        })?;
        let line = span.start.line();
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        loader.event(event, line).map_err(|problem| (Position::line(file, line), problem.to_owned()))?;
    }
    Ok(loader.done)
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    done: Option<Node>,
}

struct Open {
    anchor: usize,
    line: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map(Vec<(Rc<str>, Node)>, Option<Rc<str>>),
}

impl Loader {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), &'static str> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || self.open.len() > DEPTH_MAX {
            return Err("the file is too large or nested too deeply to be read");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = matches!(style, ScalarStyle::Plain);
                self.node(Node { data: Data::Scalar(text.as_ref().into(), plain), line }, anchor);
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open { anchor, line, kind: OpenKind::List(Vec::new()) });
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open { anchor, line, kind: OpenKind::Map(Vec::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let data = match open.kind {
                        OpenKind::List(items) => Data::List(Rc::new(items)),
                        OpenKind::Map(entries, _) => Data::Map(Rc::new(merged(entries))),
                    };
                    self.node(Node { data, line: open.line }, open.anchor);
                }
            }
            Event::Alias(anchor) => {
                let missing = Node { data: Data::Scalar("".into(), true), line };
                let node = self.anchors.get(&anchor).cloned().unwrap_or(missing);
                self.node(Node { line, ..node }, 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn node(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.done = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map(entries, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    *key = Some(match node.data {
                        Data::Scalar(text, _) => text,
                        _ => "".into(),
                    });
                }
            },
        }
    }
}

/// `<<: *defaults`: what a map takes over from others, unless it has it itself.
fn merged(entries: Vec<(Rc<str>, Node)>) -> Vec<(Rc<str>, Node)> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| &**key == "<<");
    for (_, node) in merges {
        let maps: Vec<Node> = match &node.data {
            Data::List(items) => items.to_vec(),
            _ => vec![node],
        };
        for map in maps {
            if let Data::Map(entries) = &map.data {
                for (key, value) in entries.iter() {
                    if own.len() < NODES_MAX && !own.iter().any(|(there, _)| there == key) {
                        own.push((Rc::clone(key), value.clone()));
                    }
                }
            }
        }
    }
    own
}

impl Node {
    /// The entry of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|(key, _)| &**key == name).map(|(_, node)| node)
    }

    /// The entries, if it is a map.
    pub fn entries(&self) -> &[(Rc<str>, Self)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The elements, if it is a list.
    pub fn items(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is a scalar that is not null.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(text, plain) if *plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL") => {
                None
            }
            Data::Scalar(text, _) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_lists_aliases_and_merges_are_read_with_lines() {
        let text = "base: &b\n  image: x\n  tag: 1\nweb:\n  <<: *b\n  tag: \"2\"\nlist: [a, ~, *b]\n";
        let node = parse("f", text).unwrap().unwrap();
        let web = node.get("web").unwrap();
        assert_eq!(web.get("image").and_then(Node::text), Some("x"));
        assert_eq!(web.get("tag").and_then(Node::text), Some("2"));
        assert_eq!(web.line, 5);
        let list = node.get("list").unwrap().items();
        assert_eq!(list[1].text(), None);
        assert_eq!(list[2].get("tag").and_then(Node::text), Some("1"));
    }

    #[test]
    fn errors_have_a_line_and_aliases_do_not_multiply() {
        let (at, _) = parse("f", "a: 1\nb: [1\n").unwrap_err();
        assert!(at.line >= 2, "{at}");
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..60 {
            let below = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}]\n"));
        }
        assert_eq!(parse("f", &bomb).unwrap().unwrap().entries().len(), 60);
        assert!(parse("f", &"[".repeat(5000)).is_err());
    }
}
