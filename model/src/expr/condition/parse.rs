//! A condition's text to its raw form: the steps of the program, with operands as they are written.
//!
//! Operators wait on a stack until what they apply to is complete, so that precedence (`NOT` before `AND` before `OR`)
//! and parentheses need no recursion. A parenthesis can hold a condition, `(a = b)`, or an operand, `(a) = b`; which of
//! the two is known only behind it, and both close in the same way.

use super::Comparator;
use crate::error::Result;
use crate::expr::ExpressionKind;
use crate::expr::lexer::{Cursor, TokenKind};
use crate::expr::syntax::{Place, Syntax, Term};

/// Words with a meaning of their own in a condition.
const KEYWORDS: [&str; 5] = ["AND", "OR", "NOT", "BETWEEN", "IN"];

/// A condition as it is written.
pub(super) struct RawCondition<'a> {
    pub(super) steps: Vec<RawStep>,
    /// The operands of its tests, one test's after the other's.
    pub(super) terms: Vec<Term<'a>>,
}

#[derive(Clone, Copy)]
pub(super) enum RawStep {
    Test(RawTest),
    Not,
    SkipIfFalse(usize),
    SkipIfTrue(usize),
}

/// What a test is; its operands are the next of the terms.
#[derive(Clone, Copy)]
pub(super) enum RawTest {
    Compare(Comparator),
    Between,
    /// With this many operands in the parentheses.
    In(usize),
    /// A function call.
    Call,
}

/// An operator whose right-hand side is not complete yet, or a parenthesis that is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waiting {
    Not,
    /// Its skip is this step.
    And(usize),
    /// Its skip is this step.
    Or(usize),
    /// Whether it directly holds an `AND`, `OR` or `NOT` is told by `Parser::combined`.
    Parenthesis,
}

struct Parser<'a> {
    syntax: Syntax<'a>,
    steps: Vec<RawStep>,
    waiting: Vec<Waiting>,
    /// Of each open parenthesis, whether it directly holds an `AND`, `OR` or `NOT`.
    combined: Vec<bool>,
    /// Whether what was completed last stands in parentheses of its own.
    in_parentheses: bool,
}

/// Reads a whole text.
pub(super) fn parse(kind: ExpressionKind, text: &str) -> Result<RawCondition<'_>> {
    let syntax = Syntax::new(Cursor::new(kind, text)?, &KEYWORDS).with_paths_in_parentheses();
    let mut parser = Parser {
        syntax,
        steps: Vec::new(),
        waiting: Vec::new(),
        combined: Vec::new(),
        in_parentheses: false,
    };
    parser.condition()?;
    if parser.syntax.redundant_parentheses {
        return Err(kind.invalid("The expression has redundant parentheses;"));
    }
    Ok(RawCondition { steps: parser.steps, terms: parser.syntax.terms })
}

impl Parser<'_> {
    fn condition(&mut self) -> Result<()> {
        loop {
            self.open()?;
            self.test()?;
            while self.close() {}
            if self.syntax.cursor.take_keyword("AND") {
                self.settle(Waiting::And(usize::MAX));
                self.wait(Waiting::And(self.steps.len()));
                self.steps.push(RawStep::SkipIfFalse(usize::MAX));
            } else if self.syntax.cursor.take_keyword("OR") {
                self.settle(Waiting::Or(usize::MAX));
                self.wait(Waiting::Or(self.steps.len()));
                self.steps.push(RawStep::SkipIfTrue(usize::MAX));
            } else if self.syntax.cursor.peek().kind == TokenKind::End && self.combined.is_empty() {
                self.settle(Waiting::Or(usize::MAX));
                return Ok(());
            } else {
                return Err(self.syntax.cursor.syntax_error());
            }
        }
    }

    /// Reads the parentheses and `NOT`s before a test.
    fn open(&mut self) -> Result<()> {
        loop {
            if self.syntax.cursor.take_keyword("NOT") {
                self.wait(Waiting::Not);
            } else if self.syntax.cursor.take(TokenKind::Open) {
                self.waiting.push(Waiting::Parenthesis);
                self.combined.push(false);
            } else {
                return Ok(());
            }
        }
    }

    /// Closes a parenthesis, if one is open and closes here.
    fn close(&mut self) -> bool {
        if self.combined.is_empty() || !self.syntax.cursor.take(TokenKind::Close) {
            return false;
        }
        self.settle(Waiting::Or(usize::MAX));
        self.waiting.pop();
        let combined = self.combined.pop().unwrap_or_default();
        self.syntax.redundant_parentheses |= self.in_parentheses && !combined;
        self.in_parentheses = true;
        true
    }

    /// Reads a comparison or function.
    fn test(&mut self) -> Result<()> {
        let call = self.syntax.at_call().then_some(self.syntax.terms.len());
        if call.is_some() {
            self.syntax.operand(Place::Condition)?;
        } else {
            self.syntax.simple_operand()?;
        }
        self.in_parentheses = false;
        // Parentheses around nothing but the operand close here; around a function that is a condition, too.
        while self.waiting.last() == Some(&Waiting::Parenthesis) && self.close() {
            if call.is_none() && self.syntax.path_goes_on()? {
                self.in_parentheses = false;
            }
        }
        match (self.comparison()?, call) {
            (Some(test), call) => {
                if let Some(Term::Call(call)) = call.and_then(|at| self.syntax.terms.get_mut(at)) {
                    call.place = Place::Operand;
                }
                self.steps.push(RawStep::Test(test));
                self.in_parentheses = false;
            }
            (None, Some(_)) => self.steps.push(RawStep::Test(RawTest::Call)),
            (None, None) => return Err(self.syntax.cursor.syntax_error()),
        }
        Ok(())
    }

    /// Reads what follows a comparison's first operand, if that is what it is.
    fn comparison(&mut self) -> Result<Option<RawTest>> {
        let token = self.syntax.cursor.peek();
        let comparator = match token.kind {
            TokenKind::Equal => Comparator::Equal,
            TokenKind::NotEqual => Comparator::NotEqual,
            TokenKind::Less => Comparator::Less,
            TokenKind::LessOrEqual => Comparator::LessOrEqual,
            TokenKind::Greater => Comparator::Greater,
            TokenKind::GreaterOrEqual => Comparator::GreaterOrEqual,
            _ if token.is("BETWEEN") => return self.between().map(Some),
            _ if token.is("IN") => return self.within().map(Some),
            _ => return Ok(None),
        };
        self.syntax.cursor.next();
        self.syntax.operand(Place::Operand)?;
        Ok(Some(RawTest::Compare(comparator)))
    }

    fn between(&mut self) -> Result<RawTest> {
        self.syntax.cursor.next();
        self.syntax.operand(Place::Operand)?;
        if !self.syntax.cursor.take_keyword("AND") {
            return Err(self.syntax.cursor.syntax_error());
        }
        self.syntax.operand(Place::Operand)?;
        Ok(RawTest::Between)
    }

    fn within(&mut self) -> Result<RawTest> {
        self.syntax.cursor.next();
        self.syntax.cursor.expect(TokenKind::Open)?;
        let mut operands = 0;
        loop {
            self.syntax.operand(Place::Operand)?;
            operands += 1;
            if !self.syntax.cursor.take(TokenKind::Comma) {
                self.syntax.cursor.expect(TokenKind::Close)?;
                return Ok(RawTest::In(operands));
            }
        }
    }

    /// Lets an operator wait for its right-hand side.
    fn wait(&mut self, operator: Waiting) {
        self.waiting.push(operator);
        if let Some(combined) = self.combined.last_mut() {
            *combined = true;
        }
    }

    /// Completes the waiting operators that bind at least as tightly as `limit`, whatever step that names.
    fn settle(&mut self, limit: Waiting) {
        while let Some(&operator) = self.waiting.last().filter(|operator| **operator <= limit) {
            self.waiting.pop();
            let here = self.steps.len();
            match operator {
                Waiting::Not => self.steps.push(RawStep::Not),
                Waiting::And(skip) => self.patch(skip, RawStep::SkipIfFalse(here)),
                Waiting::Or(skip) => self.patch(skip, RawStep::SkipIfTrue(here)),
                Waiting::Parenthesis => return,
            }
        }
    }

    fn patch(&mut self, at: usize, step: RawStep) {
        if let Some(slot) = self.steps.get_mut(at) {
            *slot = step;
        }
    }
}
