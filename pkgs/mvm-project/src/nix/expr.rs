//! Expressions: one function for each form of the language.

use super::Eval;
use super::scope::Env;
use super::thunk::Thunk;
use super::value::{At, Lambda, Piece, Symbol, Unknown, Value};
use rnix::ast::{self, AstToken as _, Expr, InterpolPart};
use rowan::ast::AstNode as _;
use std::rc::Rc;

impl Eval {
    /// The place of a node.
    pub(super) fn at(&self, node: &rnix::SyntaxNode, env: &Env) -> At {
        At { file: env.file, offset: u32::from(node.text_range().start()) }
    }

    /// The value of `expr`, made now.
    pub(super) fn expr(&self, expr: &Expr, env: &Env) -> Value {
        let at = self.at(expr.syntax(), env);
        self.deeper(at, || self.form(expr, env, at))
    }

    /// The value of `expr`, made when it is asked for.
    pub(super) fn later(&self, expr: Option<Expr>, env: &Env, at: At) -> Thunk {
        match expr {
            None => Thunk::made(at, Value::unknown(at, "the file has a syntax error here")),
            Some(expr) => {
                let env = env.clone();
                let at = At { file: env.file, offset: u32::from(expr.syntax().text_range().start()) };
                Thunk::later(at, move |eval| eval.expr(&expr, &env))
            }
        }
    }

    /// The value of a part that a syntax error may have cost.
    pub(super) fn part(&self, expr: Option<Expr>, env: &Env, at: At) -> Value {
        match expr {
            Some(expr) => self.expr(&expr, env),
            None => Value::unknown(at, "the file has a syntax error here"),
        }
    }

    fn form(&self, expr: &Expr, env: &Env, at: At) -> Value {
        match expr {
            Expr::Ident(ident) => self.ident(&name_of(ident), env, at),
            Expr::Literal(literal) => self.literal(literal, at),
            Expr::Str(string) => self.string(string, env, at),
            Expr::PathRel(path) => self.path(path.parts(), env, at),
            Expr::PathAbs(path) => self.path(path.parts(), env, at),
            Expr::PathHome(_) => Value::unknown(at, "it is a file of a home directory"),
            Expr::PathSearch(path) => match path.content().map(|content| content.text().to_owned()) {
                Some(text) if text.trim_matches(['<', '>']) == "nixpkgs" => {
                    Value::Symbol(Symbol::Input(["nixpkgs".into()].into()))
                }
                _ => Value::unknown(at, "it is looked up in NIX_PATH"),
            },
            Expr::Paren(paren) => self.part(paren.expr(), env, at),
            Expr::Root(root) => self.part(root.expr(), env, at),
            Expr::List(list) => {
                Value::list(list.items().map(|item| self.later(Some(item), env, at)).collect())
            }
            Expr::AttrSet(set) => self.attr_set(set, env, at),
            Expr::LetIn(let_in) => {
                let inner = self.let_scope(let_in, env, at);
                self.part(let_in.body(), &inner, at)
            }
            Expr::LegacyLet(_) => Value::unknown(at, "`let { … }` is not followed"),
            Expr::With(with) => {
                let set = self.later(with.namespace(), env, at);
                let inner = env.scoped(env.scope.with(set));
                self.part(with.body(), &inner, at)
            }
            Expr::IfElse(form) => match self.concrete(self.part(form.condition(), env, at), at) {
                Value::Bool(true) => self.part(form.body(), env, at),
                Value::Bool(false) => self.part(form.else_body(), env, at),
                other => Value::Unknown(self.not_a(&other, "a condition", at)),
            },
            // What an assertion demands is not ours to check; if it fails, nothing is built anyway.
            Expr::Assert(assert) => self.part(assert.body(), env, at),
            Expr::Lambda(lambda) => Value::Lambda(Rc::new(Lambda {
                param: lambda.param(),
                body: lambda.body(),
                env: env.clone(),
                at,
            })),
            Expr::Apply(apply) => {
                let function = self.part(apply.lambda(), env, at);
                let argument = self.later(apply.argument(), env, at);
                self.call(&function, argument, at)
            }
            Expr::Select(select) => self.select_form(select, env, at),
            Expr::HasAttr(form) => self.has_attr_form(form, env, at),
            Expr::BinOp(form) => self.binary(form, env, at),
            Expr::UnaryOp(form) => self.unary(form, env, at),
            Expr::CurPos(_) => Value::unknown(at, "it is a position"),
            Expr::Error(_) => Value::unknown(at, "the file has a syntax error here"),
        }
    }

    /// Why `value`, which should be `wanted`, is of no use.
    pub(super) fn not_a(&self, value: &Value, wanted: &str, at: At) -> Unknown {
        match value {
            Value::Unknown(unknown) => unknown.clone(),
            other => Unknown::new(at, format!("{} is no {}", other.kind(), wanted.trim_start_matches("a "))),
        }
    }

    fn literal(&self, literal: &ast::Literal, at: At) -> Value {
        let unreadable = |what: &str| Value::unknown(at, format!("the {what} can't be read"));
        match literal.kind() {
            ast::LiteralKind::Integer(number) => {
                number.syntax().text().parse().map_or_else(|_| unreadable("number"), Value::Int)
            }
            ast::LiteralKind::Float(number) => {
                number.syntax().text().parse().map_or_else(|_| unreadable("number"), Value::Float)
            }
            ast::LiteralKind::Uri(uri) => Value::text(uri.syntax().text()),
        }
    }

    fn string(&self, string: &ast::Str, env: &Env, at: At) -> Value {
        let mut pieces = Vec::new();
        for part in super::text::parts(string) {
            match part {
                InterpolPart::Literal(text) => pieces.push(Piece::Text(text.into())),
                InterpolPart::Interpolation(interpolation) => {
                    let value = self.part(interpolation.expr(), env, at);
                    pieces.extend(self.pieces(value, at).iter().cloned());
                }
            }
        }
        super::text::joined(pieces, at)
    }

    fn path(&self, parts: Vec<InterpolPart<ast::PathContent>>, env: &Env, at: At) -> Value {
        let mut text = String::new();
        for part in parts {
            match part {
                InterpolPart::Literal(content) => text.push_str(content.text()),
                InterpolPart::Interpolation(interpolation) => {
                    let value = self.part(interpolation.expr(), env, at);
                    match super::value::plain(&self.pieces(value.clone(), at)) {
                        Some(plain) => text.push_str(&plain),
                        None => return Value::Unknown(self.not_a(&value, "a path's name", at)),
                    }
                }
            }
        }
        Value::Path(crate::files::normal(&env.dir.join(text)))
    }

    /// What a name means here.
    pub(super) fn ident(&self, name: &str, env: &Env, at: At) -> Value {
        if let Some(bound) = env.scope.bound(name) {
            return bound.force(self);
        }
        if let Some(global) = super::natives::global(name) {
            return global;
        }
        let withs: Vec<Value> = env.scope.withs().iter().map(|set| set.force(self)).collect();
        // `with pkgs; with lib;` in either order: nixpkgs has no packages by the names of lib's functions.
        if super::natives::lib(name).is_some()
            && withs.iter().any(|set| matches!(set, Value::Symbol(Symbol::Lib)))
        {
            return self.attribute(&Value::Symbol(Symbol::Lib), name, at);
        }
        for set in &withs {
            if let Some(found) = self.attribute_if_any(set, name, at) {
                return found;
            }
        }
        Value::unknown(at, format!("`{name}` is not defined in what was read"))
    }

    fn let_scope(&self, form: &ast::LetIn, env: &Env, at: At) -> Env {
        let inner = self.frame(env);
        let mut unknown = Vec::new();
        for (name, entry) in self.bindings(form, &inner, env, at, &mut unknown) {
            inner.scope.bind(name, entry.value);
        }
        inner
    }
}

/// The name of an identifier; `or` is a keyword that may be one.
pub(super) fn name_of(ident: &ast::Ident) -> String {
    ident.syntax().text().to_string().trim().to_owned()
}
