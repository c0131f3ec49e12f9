//! Longest match: of all rules the one that reaches furthest, of those that reach as far the first.

use std::{cell::RefCell, sync::LazyLock};

use regex_automata::{
    Anchored, MatchKind,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson,
    util::{primitives::PatternID, start, syntax},
};

use super::{
    chars::Class,
    grammar::{Keep, PIECES, RULES},
    token::Form,
};

/// All rules as one automaton, whose states are made when a text first needs them: some hundred for
/// captions, where the whole would take half a second and three megabytes.
static RULES_DFA: LazyLock<DFA> = LazyLock::new(compile);

thread_local! {
    static STATES: RefCell<Cache> = RefCell::new(RULES_DFA.create_cache());
}

#[expect(clippy::expect_used, reason = "the patterns are constants")]
fn compile() -> DFA {
    let patterns: Vec<String> = RULES.iter().map(|rule| spell_out(rule.pattern)).collect();
    DFA::builder()
        .configure(DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true))
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .build_many(&patterns)
        .expect("the grammar compiles")
}

/// A pattern with its pieces and classes put in.
fn spell_out(pattern: &str) -> String {
    let mut pattern = pattern.to_owned();
    // last first, because a piece is made of those above it
    for (name, piece) in PIECES.iter().rev() {
        pattern = pattern.replace(&format!("{{{name}}}"), piece);
    }
    for class in Class::ALL {
        pattern = pattern.replace(&format!("{{{class:?}}}"), &format!(r"\x{:x}", class as u8));
    }
    pattern
}

/// Calls `token` with the length and form of each token in `bytes`, until it answers false or nothing
/// is left.
pub(super) fn lex(mut bytes: &[u8], mut token: impl FnMut(usize, Form) -> bool) {
    STATES.with_borrow_mut(|states| {
        while let Some((pattern, matched)) = longest(&RULES_DFA, states, bytes) {
            let rule = &RULES[pattern.as_usize()];
            let length = match rule.keep {
                Keep::All => matched,
                Keep::First(count) => count,
                Keep::But(count) => matched - count,
            };
            if !token(length, rule.form) {
                break;
            }
            bytes = &bytes[length..];
        }
    });
}

#[expect(
    clippy::expect_used,
    reason = "errors are for automata that give up or quit; this one does neither"
)]
fn longest(dfa: &DFA, states: &mut Cache, bytes: &[u8]) -> Option<(PatternID, usize)> {
    let anchored = start::Config::new().anchored(Anchored::Yes);
    let mut state = dfa.start_state(states, &anchored).expect("anchored searches are enabled");
    let mut longest = None;
    // a state knows of a match one byte late
    for (at, &byte) in bytes.iter().enumerate() {
        state = dfa.next_state(states, state, byte).expect("no limit is set");
        if state.is_match() {
            longest = Some((dfa.match_pattern(states, state, 0), at));
        } else if state.is_dead() {
            return longest;
        }
    }
    state = dfa.next_eoi_state(states, state).expect("no limit is set");
    if state.is_match() {
        longest = Some((dfa.match_pattern(states, state, 0), bytes.len()));
    }
    longest
}
