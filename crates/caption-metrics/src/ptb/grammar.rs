//! What a token is: named pieces, and the rules made of them.
//!
//! Patterns are regular expressions over the bytes of [`super::chars`]. Letters outside brackets are
//! in small letters and under `(?i:)`, as case seldom matters, and where it does brackets show it.

use super::token::Form::{self, Fraction, Is, Nothing, Plain, Quotes, Solid, SolidBrackets, Word};

/// A kind of token.
pub(super) struct Rule {
    /// The token and what must follow it; of two that match as much, the first rule is taken.
    pub(super) pattern: &'static str,
    /// Which part of the match is the token.
    pub(super) keep: Keep,
    /// How it is written.
    pub(super) form: Form,
}

/// The part of a match that is the token; the rest is read again.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    /// All of it.
    All,
    /// So many bytes.
    First(usize),
    /// All but so many bytes.
    But(usize),
}
use Keep::{All, But, First};

const fn rule(pattern: &'static str, keep: Keep, form: Form) -> Rule {
    Rule { pattern, keep, form }
}

/// What `{name}` in a pattern, or in a piece below it, stands for. Those that begin with `in_` go into
/// brackets.
#[rustfmt::skip]
pub(super) const PIECES: &[(&str, &str)] = &[
    ("in_letter", r"a-zA-Z{Letter}"),
    ("in_digit", r"0-9{Digit}"),
    ("in_blank", r" \t{NoBreakSpace}{Space}"),
    ("in_apostrophe", r"'{Apostrophe}"),
    ("in_quote", r"{in_apostrophe}`{OpenQuote}"),

    ("letter", r"(?:[{in_letter}{Mark}{SoftHyphen}]|&[aeiouAEIOU](?i:acute|grave|uml);)"),
    ("digit", r"[{in_digit}]"),
    ("alphanumeric", r"[{in_letter}{in_digit}]"),
    ("blank", r"[{in_blank}\n]"),
    ("apostrophe", r"(?:[{in_apostrophe}]|&(?i:apos);)"),
    ("quote", r"(?:[{in_quote}]|&(?i:apos);)"),
    ("ampersand", r"&(?i:amp;)?"),

    // words
    ("run", r"{letter}(?:{letter}|{digit})*"),
    ("word", r"(?:{run}(?:[.!?]{run})*)"), // "dog", "yahoo.com"
    ("part", r"(?:[dDoOlL]{quote}{alphanumeric})?{alphanumeric}+"),
    ("thing", r"(?:{part}(?:[\-{Hyphen}_]{part})*)"), // "t-shirt", "20-foot", "jack-o'lantern"
    ("acronym", r"(?i:[a-z](?:\.[a-z])+|(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-(?:u\.k|u\.s\.s\.r))"),
    ("compound", r"(?:[a-zA-Z0-9][a-zA-Z0-9.,{SoftHyphen}]*(?:-(?:[a-zA-Z0-9{SoftHyphen}]+|{acronym}\.))+)"), // "1,000-foot"
    ("choice", r"[a-zA-Z0-9]+(?:-[a-zA-Z]+){0,2}"),
    ("choices", r"(?:{choice}(?:\\?/{choice}){1,2})"), // "and/or"
    ("sum", r"(?:[A-Z]+(?:(?:\+|{ampersand})[A-Z]+)+)"), // "AT&T"
    ("stem", r"(?:{word}|{thing}|{sum})"),
    ("negated", r"[a-zA-Z{SoftHyphen}]*[a-mo-zA-MO-Z]{SoftHyphen}*"), // "do" of "don't"
    ("elision", concat!(
        r"(?i:{apostrophe}n{apostrophe}?|[ldj]{apostrophe}|{apostrophe}(?:em|till?|cause)|{apostrophe}[2-9]0s", // "rock 'n' roll", "'90s"
        r"|(?:dunkin|somethin|ol){apostrophe}|cap{apostrophe}n|c{apostrophe}est|o{quote}o|li'l|e'er|s'mores)",
        r"|[A-HJ-XZn]{quote}[{in_letter}]{2,}", // "O'Brien"
        r"|[{in_letter}]+[aeiouyAEIOUY]{quote}[aeiouA-Z][{in_letter}]*", // "Ho'oponopono"
    )),

    // numbers
    ("number", r"(?:{digit}+|{digit}*(?:[.:,{SoftHyphen}{Decimal}]{digit}+)+)"),
    ("date", r"{digit}{1,2}[\-/]{digit}{1,2}[\-/]{digit}{2,4}"),
    ("fraction", r"(?:{digit}{1,4}[\- {NoBreakSpace}])?{digit}{1,4}(?:\\?/|{FractionSlash}){digit}{1,4}"),
    ("in_gap", r"\- {NoBreakSpace}"),
    ("phone", concat!(
        r"(?:\([0-9]{2,3}\)[ {NoBreakSpace}]?|(?:\+\+?)?(?:[0-9]{2,4}[{in_gap}])?[0-9]{2,4}[{in_gap}])",
        r"[0-9]{3,4}[{in_gap}]?[0-9]{3,5}",
        r"|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
    )),

    // abbreviations
    ("title", concat!(
        r"(?i:adj|adm|adv|alex|assoc|asst|attys?|ave|brig|capt|cf|cie|co?mdr|col|cpl|dept|det|drs?|elec|ens|ft|gen",
        r"|govs?|hon|insp|invt|jos|lieut|lt|maj|messrs|mlle|mme|mr|mrs|ms|msgr|mt|natl|pfc|ph|pres|profs?|pvt|reps?",
        r"|rev|sens?|sfc|sgt|spc|ste?|supts?|treas|vs|wm)|[mM][ft][gG]",
    )),
    ("abbreviation", concat!(
        r"(?:(?i:ala?|apr|ariz|assn|aug|bancorp|bhd|bldg|blvd|bros|calif|colo|conn|corp|cos?|ct|dak|dec|esq|est|etc",
        r"|ext|feb|fla|fri|ga|inc|ind|intl|jan|jr|jul|jun|kans?|ky|ltd|mar|md|minn|mo|mon|mont|neb|nev|nov|oct|okla",
        r"|penn|plc|rd|rt|sept?|seq|sq|sr|sys|tel|tenn|thu|thurs|tues?|univ|va|vt|wed|wisc?|wyo|(?:ed|ph)\.d)",
        r"|A(?i:z|rk)|D(?i:el)|I(?i:ll)|L(?i:a)|M(?i:ass|iss)|O(?i:re)|P(?i:a)|T(?i:ex)|W(?i:ash)",
        r"|[pP][pP]?[tT][ye][sS]?)",
    )),
    ("opening", concat!(
        r"A|A(?i:bout|ccording|dditionally|fter|n|s|t)|B(?i:ut)|E(?i:arlier)|H(?i:e|er|ere|owever)|I(?i:f|n|t)|L(?i:ast)",
        r"|M(?i:any|ore|[rs]\.)|N(?i:ow)|O(?i:nce|ne|ther|ur)|S(?i:he|ince|o|ome|uch)",
        r"|T(?i:hat|he|heir|hen|here|hese|hey|his)|W(?i:e|hat|hen|hile)|Y(?i:et|ou)",
    )),

    // the web
    ("name", r"[a-zA-Z][a-zA-Z0-9_:.\-]*"),
    ("attribute", r#"{name}(?: *= *(?:'[^\r\n']*'|"[^\r\n"]*"))?"#),
    ("tag", r"<(?:[!?][a-zA-Z\-][^>\r\n]*|/{name} *|{name}(?: +{attribute})*(?: */)? *)>"),
    ("in_markup", r#" \t\n\r"<>|(){}"#),
    ("address", r"(?i:https?)://[^{in_markup}]+[^{in_markup}.!?,\-]"),
    ("host", concat!( // ",-_" is a range, capitals and digits among it
        r#"(?:(?i:www)\.(?:[^{in_markup}.!?,]+\.)+[a-zA-Z]{2,4}"#,
        r#"|(?:[^{in_markup}`'.!?,-_$]+\.)+(?i:com|net|org|edu))"#,
        r#"(?:/[^ \t\n\r"<>|()]+[^{in_markup}.!?,\-])?"#,
    )),
    ("email", concat!(
        r"(?:<|&(?i:lt);)?[a-zA-Z0-9][^{in_markup}{NoBreakSpace}]*@",
        r"(?:[^{in_markup}.{NoBreakSpace}]+\.)*[^{in_markup}.{NoBreakSpace}]+(?:>|&(?i:gt);)?",
    )),
    ("file", concat!(
        r"(?:{letter}|{digit})+(?:\.(?:{letter}|{digit})+)*\.(?i:bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?",
        r"|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip)",
    )),

    // faces
    ("in_eye", r"\^x=~<>'"),
    ("smiley", r"[<>]?[:;=][\-o*']?[()DPdpO\\{@|\[\]]"),
    ("emoticon", r"[\-{in_eye}]_[\-{in_eye}]|\((?:[\-{in_eye}][_.]?[\-{in_eye}]|[{in_eye}]-[{in_eye}`])\)"),
];

pub(super) const RULES: &[Rule] = &[
    // words that are cut
    rule(r"(?i:cannot)", But(3), Plain),
    rule(r"(?i:gonna|gotta|lemme|gimme|wanna)", But(2), Plain),
    rule(r"'(?i:tis|twas)", First(2), Plain),
    rule(r"{part}(?:[\-{Hyphen}_]{part})+", All, Plain), // before 'll and the rest are cut: "x-o'll"
    rule(r"{stem}[{in_apostrophe}](?i:[msd])", But(2), Word),
    rule(r"{stem}[{in_apostrophe}](?i:ll|re|ve)", But(3), Word),
    rule(r"{stem}&(?i:apos;[msd])", But(7), Word),
    rule(r"{stem}&(?i:apos;(?:ll|re|ve))", But(8), Word),
    rule(r"{negated}(?i:n[{in_quote}]t)", But(3), Word),
    rule(r"{negated}(?i:n&apos;t)", But(8), Word),
    // words
    rule(r"{tag}", All, Solid),
    rule(r"{word}", All, Word),
    rule(r"{elision}", All, Plain),
    rule(r"(?i:y){apostrophe}[{in_letter}]", First(2), Plain),
    rule(r"{address}|{host}|{email}", All, Plain),
    rule(r"@[a-zA-Z_][a-zA-Z_0-9]*|#{letter}+", All, Plain),
    // 's and n't, and the apostrophe that opens a quotation
    rule(r"{apostrophe}(?i:[msd]|ll|re|ve)[^a-zA-Z]", But(1), Quotes),
    rule(r"(?i:n{quote}t)[^a-zA-Z]", But(1), Quotes),
    rule(r"'[a-zA-Z][^ \t\n{NoBreakSpace}]", First(1), Is("`")),
    rule(r"{apostrophe}(?i:[msd]|ll|re|ve)", All, Quotes),
    // numbers
    rule(r"{date}", All, Plain),
    rule(r"[+\-]?{number}", All, Word),
    rule(r"{fraction}", All, Solid),
    rule(r"{Fraction}", All, Fraction),
    rule(r"{RaisedSign}?(?:{Raised}+|{Lowered}+)", All, Plain),
    rule(r"{apostrophe}[0-9][0-9]{blank}", But(1), Plain),
    // words that are shorter than the rules above would have them
    rule(r"-(?i:[lr][rcs]b)-|(?i:c\.d\.s|pro-|anti-)", All, Plain),
    rule(r"(?i:s{ampersand}(?:p-500|ls))", All, Word),
    rule(r"{abbreviation}\.[\x00-\xff]{2}", But(2), Plain),
    rule(r"(?:{abbreviation}|{title}|[a-zA-Z])\.|{acronym}\.", All, Plain),
    rule(r"[a-zA-Z]\.{blank}+(?:{opening}|{tag}){blank}", First(1), Plain),
    rule(r"{acronym}{blank}", But(1), Plain),
    rule(r"(?i:pt[ey])\.[{in_blank}](?i:ltd|lim)", But(4), Plain),
    rule(r"(?i:art|ca|figs?|nos?|op|pp|prop)\.{digit}", But(1), Plain),
    rule(r"(?i:art|ca|figs?|nos?|op|pp|prop)\.{blank}{digit}", But(2), Plain),
    rule(r"{thing}|{compound}|{sum}|{choices}", All, Word),
    rule(r"(?:{word}|{thing}|{compound}|{sum})\.[,;:{Comma}]", But(1), Word),
    rule(r"{file}[{in_blank}\n.?!,]", But(1), Plain),
    rule(r"(?i:c\+\+|[cf]#)", All, Plain),
    rule(r"{phone}", All, SolidBrackets),
    rule(r"{smiley}[^a-zA-Z0-9]", But(1), SolidBrackets),
    rule(r"{emoticon}", All, SolidBrackets),
    // marks
    rule(r"[A-Z]*\$|<<|>>|-{5,}|[?!]+|\*+|(?:\\\*){1,3}|@+|#+|_+", All, Plain),
    rule(r"{Dollar}", All, Is("$")),
    rule(r"{Cent}", All, Is("cents")),
    rule(r"{Pound}", All, Is("#")),
    rule(r"\(", All, Is("-lrb-")),
    rule(r"\)", All, Is("-rrb-")),
    rule(r"\[", All, Is("-lsb-")),
    rule(r"\]", All, Is("-rsb-")),
    rule(r"\{", All, Is("-lcb-")),
    rule(r"\}", All, Is("-rcb-")),
    rule(r"&(?i:amp);", All, Is("&")),
    rule(r"&(?i:lt);", All, Is("<")),
    rule(r"&(?i:gt);", All, Is(">")),
    rule(r"&(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);", All, Plain),
    rule(r#"''|"|&(?i:quot|apos);|[`{OpenQuote}-{LowQuote}]{1,2}"#, All, Quotes),
    rule(r"-{1,4}|{Dash}|&(?i:md|mdash|ndash);", All, Is("--")),
    rule(r"\.{3,5}|(?:\.[ {NoBreakSpace}]){2,4}\.|{Ellipsis}", All, Is("...")),
    rule(r"[{in_blank}\n]+|&(?i:nbsp);|{Nothing}+|[{Hyphen}{Decimal}]", All, Nothing),
    rule(r"[^\n]", All, Plain),
];
