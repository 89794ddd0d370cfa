//! An update's text to its raw form.

use crate::error::Result;
use crate::expr::ExpressionKind;
use crate::expr::lexer::{Cursor, TokenKind};
use crate::expr::syntax::{Place, RawPath, Syntax, Term};

/// Words with a meaning of their own in an update: its sections.
const KEYWORDS: [&str; 4] = ["SET", "REMOVE", "ADD", "DELETE"];

/// An update as it is written.
pub(super) struct RawUpdate<'a> {
    pub(super) actions: Vec<RawAction<'a>>,
    /// The sections in the order in which they are written.
    sections: Vec<Section>,
}

pub(super) struct RawAction<'a> {
    pub(super) section: Section,
    pub(super) path: RawPath<'a>,
    /// The operator of a SET action's value, if it has one.
    pub(super) operator: Option<Operator>,
    /// The operands, none to two.
    pub(super) terms: Vec<Term<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Set,
    Remove,
    Add,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
}

impl Section {
    const ALL: [Self; 4] = [Self::Set, Self::Remove, Self::Add, Self::Delete];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Remove => "REMOVE",
            Self::Add => "ADD",
            Self::Delete => "DELETE",
        }
    }
}

impl Operator {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

impl RawUpdate<'_> {
    pub(super) fn refuse_repeated_sections(&self) -> Result<()> {
        for section in Section::ALL {
            if self.sections.iter().filter(|other| **other == section).count() > 1 {
                return Err(ExpressionKind::Update.invalid(format_args!(
                    "The \"{}\" section can only be used once in an update expression;",
                    section.name()
                )));
            }
        }
        Ok(())
    }
}

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<RawUpdate<'_>> {
    let kind = ExpressionKind::Update;
    let mut syntax = Syntax::new(Cursor::new(kind, text)?, &KEYWORDS);
    let mut update = RawUpdate { actions: Vec::new(), sections: Vec::new() };
    while syntax.cursor.peek().kind != TokenKind::End {
        let section = section(&mut syntax)?;
        update.sections.push(section);
        loop {
            update.actions.push(action(&mut syntax, section)?);
            if !syntax.cursor.take(TokenKind::Comma) {
                break;
            }
        }
    }
    if syntax.redundant_parentheses {
        return Err(kind.invalid("The expression has redundant parentheses;"));
    }
    Ok(update)
}

fn section(syntax: &mut Syntax<'_>) -> Result<Section> {
    let found = Section::ALL.into_iter().find(|section| syntax.cursor.take_keyword(section.name()));
    found.ok_or_else(|| syntax.cursor.syntax_error())
}

fn action<'a>(syntax: &mut Syntax<'a>, section: Section) -> Result<RawAction<'a>> {
    let path = syntax.path()?;
    let mut operator = None;
    match section {
        Section::Remove => {}
        Section::Set => {
            syntax.cursor.expect(TokenKind::Equal)?;
            operator = set_value(syntax)?;
        }
        Section::Add | Section::Delete => {
            let value = syntax.cursor.expect(TokenKind::ValueRef)?;
            syntax.terms.push(Term::Value(value.text));
        }
    }
    Ok(RawAction { section, path, operator, terms: std::mem::take(&mut syntax.terms) })
}

/// Reads the value of a SET action: an operand, or two with an operator between them. The operands may stand in
/// parentheses, and so may the whole.
fn set_value(syntax: &mut Syntax<'_>) -> Result<Option<Operator>> {
    let mut open = 0;
    while syntax.cursor.take(TokenKind::Open) {
        open += 1;
    }
    if syntax.at_call() {
        syntax.operand(Place::Value)?;
    } else {
        syntax.simple_operand()?;
    }
    close(syntax, &mut open);
    let operator = match syntax.cursor.peek().kind {
        TokenKind::Plus => Some(Operator::Plus),
        TokenKind::Minus => Some(Operator::Minus),
        _ => None,
    };
    if operator.is_some() {
        syntax.cursor.next();
        if let Some(Term::Call(call)) = syntax.terms.first_mut() {
            call.place = Place::Operand;
        }
        syntax.operand(Place::Operand)?;
        close(syntax, &mut open);
    }
    if open > 0 { Err(syntax.cursor.syntax_error()) } else { Ok(operator) }
}

/// Closes as many of the open parentheses as close here.
fn close(syntax: &mut Syntax<'_>, open: &mut usize) {
    let mut closed = 0;
    while *open > 0 && syntax.cursor.take(TokenKind::Close) {
        *open -= 1;
        closed += 1;
    }
    syntax.redundant_parentheses |= closed > 1;
}
