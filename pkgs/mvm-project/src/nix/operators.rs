//! Operators.

use super::scope::Env;
use super::value::{At, Attrs, List, Piece, Unknown, Value};
use super::{Eval, LIST_MAX};
use rnix::ast::{self, BinOpKind, UnaryOpKind};
use std::cmp::Ordering;
use std::rc::Rc;

impl Eval {
    pub(super) fn unary(&self, form: &ast::UnaryOp, env: &Env, at: At) -> Value {
        let operand = self.part(form.expr(), env, at);
        match (form.operator(), self.concrete(operand, at)) {
            (Some(UnaryOpKind::Invert), Value::Bool(bool)) => Value::Bool(!bool),
            (Some(UnaryOpKind::Negate), Value::Int(number)) => Value::Int(number.wrapping_neg()),
            (Some(UnaryOpKind::Negate), Value::Float(number)) => Value::Float(-number),
            (_, other) => Value::Unknown(self.not_a(&other, "an operand of this operator", at)),
        }
    }

    pub(super) fn binary(&self, form: &ast::BinOp, env: &Env, at: At) -> Value {
        let left = || self.concrete(self.part(form.lhs(), env, at), at);
        let right = || self.concrete(self.part(form.rhs(), env, at), at);
        let Some(kind) = form.operator() else {
            return Value::unknown(at, "the file has a syntax error here");
        };
        match kind {
            BinOpKind::And => self.either(left(), right, false, at),
            BinOpKind::Or => self.either(left(), right, true, at),
            BinOpKind::Implication => match left() {
                Value::Bool(false) => Value::Bool(true),
                Value::Bool(true) => right(),
                other => Value::Unknown(self.not_a(&other, "a boolean", at)),
            },
            BinOpKind::Concat => self.concat(left(), right(), at),
            BinOpKind::Update => self.update(&left(), &right(), at),
            BinOpKind::Add => self.add(left(), right(), at),
            BinOpKind::Equal | BinOpKind::NotEqual => match self.equal(&left(), &right(), at) {
                Ok(equal) => Value::Bool(equal == (kind == BinOpKind::Equal)),
                Err(unknown) => Value::Unknown(unknown),
            },
            BinOpKind::PipeRight => {
                let argument = self.later(form.lhs(), env, at);
                self.call(&right(), argument, at)
            }
            BinOpKind::PipeLeft => {
                let argument = self.later(form.rhs(), env, at);
                self.call(&left(), argument, at)
            }
            _ => self.arithmetic(kind, left(), right(), at),
        }
    }

    /// `&&` (`deciding` false) and `||` (true): one operand may decide although the other is not known.
    fn either(&self, left: Value, right: impl Fn() -> Value, deciding: bool, at: At) -> Value {
        match left {
            Value::Bool(bool) if bool == deciding => Value::Bool(deciding),
            Value::Bool(_) => match right() {
                Value::Bool(bool) => Value::Bool(bool),
                other => Value::Unknown(self.not_a(&other, "a boolean", at)),
            },
            other => match right() {
                Value::Bool(bool) if bool == deciding => Value::Bool(deciding),
                _ => Value::Unknown(self.not_a(&other, "a boolean", at)),
            },
        }
    }

    /// `left ++ right`; what is not known of either stays open.
    pub(super) fn concat(&self, left: Value, right: Value, at: At) -> Value {
        let mut whole = List::default();
        for value in [left, right] {
            match value {
                Value::List(list) => {
                    if whole.items.len() + list.items.len() > LIST_MAX || !self.spend(list.items.len()) {
                        return Value::unknown(at, "the list becomes too long to be followed");
                    }
                    whole.items.extend(list.items.iter().cloned());
                    add_causes(&mut whole.open, &list.open);
                }
                other => add_causes(&mut whole.open, &[self.not_a(&other, "a list", at)]),
            }
        }
        Value::List(Rc::new(whole))
    }

    /// `left // right`; an unknown right side may replace anything of the left one.
    pub(super) fn update(&self, left: &Value, right: &Value, at: At) -> Value {
        match (left, right) {
            (Value::Attrs(left), Value::Attrs(right)) => {
                if !self.spend(left.map.len() + right.map.len()) {
                    return Value::unknown(at, "the project takes too many steps to follow");
                }
                let mut map = left.map.clone();
                if let Some(unknown) = right.open.first() {
                    // An attribute of the left that the open right side may have, too.
                    for (name, entry) in &mut map {
                        if !right.map.contains_key(name) {
                            let value = Value::Unknown(unknown.clone());
                            entry.value = super::Thunk::made(entry.at, value);
                        }
                    }
                }
                map.extend(right.map.iter().map(|(name, entry)| (Rc::clone(name), entry.clone())));
                let mut open = Vec::new();
                add_causes(&mut open, &left.open);
                add_causes(&mut open, &right.open);
                Value::Attrs(Rc::new(Attrs { map, open }))
            }
            (other, Value::Attrs(right)) => {
                let mut open = right.open.clone();
                open.push(self.not_a(other, "a set", at));
                Value::Attrs(Rc::new(Attrs { map: right.map.clone(), open }))
            }
            (Value::Attrs(_), other) => Value::Unknown(self.not_a(other, "a set", at)),
            (other, _) => Value::Unknown(self.not_a(other, "a set", at)),
        }
    }

    fn add(&self, left: Value, right: Value, at: At) -> Value {
        match (left, right) {
            (Value::Int(a), Value::Int(b)) => a
                .checked_add(b)
                .map_or_else(|| Value::unknown(at, "the number becomes too large"), Value::Int),
            (Value::Path(path), Value::Text(text)) => match super::value::plain(&text) {
                Some(text) => {
                    let mut whole = path.into_os_string();
                    whole.push(text);
                    Value::Path(crate::files::normal(std::path::Path::new(&whole)))
                }
                None => Value::unknown(at, "the path's name is not known"),
            },
            (a @ (Value::Int(_) | Value::Float(_)), b @ (Value::Int(_) | Value::Float(_))) => {
                self.arithmetic(BinOpKind::Add, a, b, at)
            }
            (Value::Unknown(unknown), Value::Unknown(_)) => Value::Unknown(unknown),
            (a, b) => {
                let mut pieces: Vec<Piece> = self.pieces(a, at).to_vec();
                pieces.extend(self.pieces(b, at).iter().cloned());
                super::text::joined(pieces, at)
            }
        }
    }

    fn arithmetic(&self, kind: BinOpKind, left: Value, right: Value, at: At) -> Value {
        if let (Value::Text(a), Value::Text(b)) = (&left, &right)
            && let (Some(a), Some(b)) = (super::value::plain(a), super::value::plain(b))
        {
            return ordered(kind, Some(a.cmp(&b)))
                .unwrap_or_else(|| Value::unknown(at, "strings can't be subtracted, multiplied or divided"));
        }
        if let (Value::Int(a), Value::Int(b)) = (&left, &right) {
            let number = match kind {
                BinOpKind::Sub => a.checked_sub(*b),
                BinOpKind::Mul => a.checked_mul(*b),
                BinOpKind::Div => a.checked_div(*b),
                _ => None,
            };
            return number.map(Value::Int).or_else(|| ordered(kind, Some(a.cmp(b)))).unwrap_or_else(|| {
                Value::unknown(at, "the number becomes too large, or is divided by zero")
            });
        }
        let float = |value: &Value| match value {
            #[expect(clippy::cast_precision_loss, reason = "as Nix does")]
            Value::Int(number) => Ok(*number as f64),
            Value::Float(number) => Ok(*number),
            other => Err(self.not_a(other, "a number", at)),
        };
        match (float(&left), float(&right)) {
            (Ok(a), Ok(b)) => match kind {
                BinOpKind::Add => Value::Float(a + b),
                BinOpKind::Sub => Value::Float(a - b),
                BinOpKind::Mul => Value::Float(a * b),
                BinOpKind::Div => Value::Float(a / b),
                _ => ordered(kind, a.partial_cmp(&b))
                    .unwrap_or_else(|| Value::unknown(at, "the numbers can't be compared")),
            },
            (Err(unknown), _) | (_, Err(unknown)) => Value::Unknown(unknown),
        }
    }

    /// `left == right`, as far as it can be told.
    pub(super) fn equal(&self, left: &Value, right: &Value, at: At) -> Result<bool, Unknown> {
        let both = |a: Value, b: Value| {
            self.nested(at, || self.equal(&self.concrete(a, at), &self.concrete(b, at), at))?
        };
        match (left, right) {
            (Value::Unknown(unknown), _) | (_, Value::Unknown(unknown)) => Err(unknown.clone()),
            (Value::Null, Value::Null) => Ok(true),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Int(a), Value::Int(b)) => Ok(a == b),
            (Value::Float(a), Value::Float(b)) => Ok(a == b),
            (Value::Path(a), Value::Path(b)) => Ok(a == b),
            (Value::Text(a), Value::Text(b)) => match (super::value::plain(a), super::value::plain(b)) {
                (Some(a), Some(b)) => Ok(a == b),
                _ => Err(Unknown::new(at, "a string that is compared is not known")),
            },
            (Value::List(a), Value::List(b)) => {
                if let Some(unknown) = a.open.first().or(b.open.first()) {
                    return Err(unknown.clone());
                }
                if a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !both(a.force(self), b.force(self))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Package(_), Value::Null) | (Value::Null, Value::Package(_)) => Ok(false),
            (Value::Attrs(_), Value::Attrs(_)) => Err(Unknown::new(at, "two sets are compared")),
            (Value::Package(_) | Value::Symbol(_), _) | (_, Value::Package(_) | Value::Symbol(_)) => {
                Err(Unknown::new(at, "it depends on nixpkgs or an input"))
            }
            _ => Ok(false),
        }
    }
}

/// Adds causes, each once; a few explain enough, and their number must not double with each operator.
fn add_causes(causes: &mut Vec<Unknown>, more: &[Unknown]) {
    for cause in more {
        if causes.len() < 16 && !causes.contains(cause) {
            causes.push(cause.clone());
        }
    }
}

fn ordered(kind: BinOpKind, order: Option<Ordering>) -> Option<Value> {
    let order = order?;
    match kind {
        BinOpKind::Less => Some(Value::Bool(order.is_lt())),
        BinOpKind::LessOrEq => Some(Value::Bool(order.is_le())),
        BinOpKind::More => Some(Value::Bool(order.is_gt())),
        BinOpKind::MoreOrEq => Some(Value::Bool(order.is_ge())),
        _ => None,
    }
}
