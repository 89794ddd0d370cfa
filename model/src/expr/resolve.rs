//! Placeholders become what they stand for, and operands are checked: their number, their types as far as the text
//! tells them, and that none is compared with itself.

use std::sync::Arc;

use super::ExpressionKind;
use super::path::{Element, Path};
use super::substitutions::Substitutions;
use super::syntax::{RawElement, RawPath, Term};
use super::words::{Function, index};
use crate::error::{Error, Result};
use crate::limits::{EXPRESSION_OPERATORS_MAX, NESTING_LEVELS_MAX};
use crate::value::{AttributeValue, Item};

/// A place in the item, or a value of the request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    Path(Path),
    Value(Arc<AttributeValue>),
}

impl Source {
    /// The value, if there is one.
    pub(super) fn get<'a>(&'a self, item: &'a Item) -> Option<&'a AttributeValue> {
        match self {
            Self::Path(path) => path.get(item),
            Self::Value(value) => Some(value),
        }
    }
}

/// Resolves the parts of one expression, in the order in which they are written.
pub(super) struct Resolver<'s, 'a> {
    pub(super) kind: ExpressionKind,
    substitutions: &'s mut Substitutions<'a>,
    operators: usize,
}

impl<'s, 'a> Resolver<'s, 'a> {
    pub(super) fn new(kind: ExpressionKind, substitutions: &'s mut Substitutions<'a>) -> Self {
        Self { kind, substitutions, operators: 0 }
    }

    /// Counts an operator or function.
    pub(super) fn count_operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators <= EXPRESSION_OPERATORS_MAX {
            return Ok(());
        }
        Err(self.kind.invalid(format_args!(
            "The expression contains too many operators; operator count: {}",
            self.operators
        )))
    }

    /// Resolves the next operand of the terms, which `finish` makes of a function and its operands where it is a call.
    /// Calls whose operands are not complete wait on a stack.
    pub(super) fn operand<'t, R: From<Source>>(
        &mut self,
        terms: &mut impl Iterator<Item = Term<'t>>,
        finish: impl Fn(&Self, Function, Vec<R>) -> Result<R>,
    ) -> Result<R> {
        let mut calls: Vec<(Function, usize, Vec<R>)> = Vec::new();
        loop {
            let source = match terms.next() {
                Some(Term::Path(path)) => Source::Path(self.path(&path)?),
                Some(Term::Value(key)) => Source::Value(self.value(key)?),
                Some(Term::Call(call)) => {
                    let function = Function::from_name(call.name)
                        .ok_or_else(|| Error::internal("an unknown function"))?;
                    self.count_operator()?;
                    calls.push((function, call.arguments, Vec::new()));
                    continue;
                }
                None => return Err(Error::internal("an operand is missing")),
            };
            let mut operand = R::from(source);
            loop {
                let Some((function, arguments, mut operands)) = calls.pop() else {
                    return Ok(operand);
                };
                operands.push(operand);
                if operands.len() < arguments {
                    calls.push((function, arguments, operands));
                    break;
                }
                operand = finish(self, function, operands)?;
            }
        }
    }

    /// What a value's placeholder stands for.
    pub(super) fn value(&mut self, key: &str) -> Result<Arc<AttributeValue>> {
        self.substitutions.value(key).ok_or_else(|| {
            self.kind.invalid(format_args!(
                "An expression attribute value used in expression is not defined; attribute value: {key}"
            ))
        })
    }

    /// A document path with its placeholders resolved.
    pub(super) fn path(&mut self, raw: &RawPath<'_>) -> Result<Path> {
        let mut root = None;
        let mut rest = Vec::with_capacity(raw.elements.len().saturating_sub(1));
        for element in &raw.elements {
            let element = self.element(*element)?;
            match (&root, element) {
                (None, Element::Name(name)) => root = Some(name),
                (_, element) => rest.push(element),
            }
        }
        let root = root.ok_or_else(|| Error::internal("a document path without a first name"))?;
        let path = Path::new(root, rest);
        if path.levels() > NESTING_LEVELS_MAX {
            return Err(self.kind.invalid(format_args!(
                "The document path has too many nesting levels; nesting levels: {}",
                path.levels()
            )));
        }
        Ok(path)
    }

    fn element(&mut self, raw: RawElement<'_>) -> Result<Element> {
        match raw {
            RawElement::Name(name) => Ok(Element::Name(Arc::from(name))),
            RawElement::NameRef(key) => {
                self.substitutions.name(key).map(Element::Name).ok_or_else(|| {
                    self.kind.invalid(format_args!(
                        "An expression attribute name used in the document path is not defined; \
                         attribute name: {key}"
                    ))
                })
            }
            RawElement::Index(digits) => index(digits)
                .map(Element::Index)
                .ok_or_else(|| Error::internal("a list index out of range")),
        }
    }

    /// Refuses a function with the wrong number of operands.
    pub(super) fn check_arity(&self, function: Function, operands: usize) -> Result<()> {
        if operands == function.arity() {
            return Ok(());
        }
        Err(self.kind.invalid(format_args!(
            "Incorrect number of operands for operator or function; operator or function: {}, \
             number of operands: {operands}",
            function.name()
        )))
    }

    pub(super) fn wrong_type(&self, operator: &str, operand_type: &str) -> Error {
        self.kind.invalid(format_args!(
            "Incorrect operand type for operator or function; operator or function: {operator}, \
             operand type: {operand_type}"
        ))
    }

    pub(super) fn path_required(&self, function: Function) -> Error {
        self.kind.invalid(format_args!(
            "Operator or function requires a document path; operator or function: {}",
            function.name()
        ))
    }

    pub(super) fn not_distinct(&self, operator: &str, path: &Path) -> Error {
        self.kind.invalid(format_args!(
            "The first operand must be distinct from the remaining operands for this operator or function; \
             operator: {operator}, first operand: {path}"
        ))
    }
}
