//! What the parser refuses, what fails while executing, and that nothing hangs or grows without bound.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use xdt_gotemplate::Template;

/// None of these can take longer, even on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

const UNPARSABLE: &[&str] = &[
    "hello{{range",
    "{{",
    "{{}}",
    "{{\n}}",
    "{{end}}",
    "{{else}}",
    "{{if .X}}hello{{end}}{{else}}",
    "{{if .X}}1{{else}}2{{else}}3{{end}}",
    "hello{{range .x}}",
    "hello{{range .x}}{{else}}",
    "{{if}}x{{end}}",
    "hello{{undefined}}",
    "{{undefined .X}}",
    "{{$x}}",
    "{{$x = 1}}{{$y}}",
    "{{with $x := 4}}{{end}}{{$x}}",
    "{{template $v}}",
    "{{with $x.Y := 4}}{{end}}",
    "{{template .X}}",
    "{{printf 3, 4}}",
    "{{with $v, $u := 3}}{{end}}",
    "{{range $u, $v, $w := 3}}{{end}}",
    "{{range $u, 3}}{{end}}",
    "{{printf (printf .).}}",
    "{{printf 3`x`}}",
    "{{printf `x`.}}",
    "{{if .X}}a{{else if .Y}}b{{end}}{{end}}",
    "{{range .}}{{end}} {{break}}",
    "{{continue}}",
    "{{range .}}{{else}}{{break}}{{end}}",
    "{{range .}}{{break 20}}{{end}}",
    "{{range .}}{{block `b` .}}{{break}}{{end}}{{end}}",
    "{{range .}}{{else range .}}{{end}}",
    "{{with .}}{{else if .}}{{end}}",
    "{{$x += 1}}{{$x}}",
    "{{$x := 0}}{{$x ! 2}}",
    "{{$x:=.}}{{$x+2}}",
    "{{range $x := $y := 3}}{{end}}",
    "{{1.E}}",
    "{{0.1.E}}",
    "{{true.E}}",
    "{{'a'.any}}",
    "{{`hello`.guys}}",
    "{{..E}}",
    "{{nil.E}}",
    "{{12|.}}",
    "{{.|12|printf}}",
    "{{.|printf|`error`}}",
    "{{12|printf|'e'}}",
    "{{.|true}}",
    "{{'c'|nil}}",
    "{{printf `%d` ( ) }}",
    "{{block `foo`}}hello{{end}}",
    "{{block .X .}}hello{{end}}",
    "{{define}}{{end}}",
    "{{define `x`}}",
    "{{define `x`}}{{else}}{{end}}",
    "{{define `x` .}}{{end}}",
    "{{if .X}}{{define `x`}}{{end}}{{end}}",
    "{{define `x`}}{{define `y`}}{{end}}{{end}}",
    "{{define `x`}}a{{end}}{{define `x`}}b{{end}}",
    "{{define `x`}}{{$y := 1}}{{end}}{{$y}}",
    "{{$x := 1}}{{block `b` .}}{{$x}}{{end}}",
    "{{(1}}",
    "{{1)}}",
    "{{ \"a }}",
    "{{ \"a\nb\" }}",
    "{{ `a }}",
    "{{ 'a }}",
    "{{ '' }}",
    "{{ 'ab' }}",
    r#"{{"\q"}}"#,
    r#"{{"\'"}}"#,
    "{{/* a }}",
    "{{/* a */ }}",
    "{{ /* a */}}",
    "{{3a}}",
    "{{089}}",
    "{{1__0}}",
    "{{0x}}",
    "{{99999999999999999999}}",
    "{{1e400}}",
    "{{#}}",
    "{{\u{1}}}",
    "{{a€}}",
    "{{.X!}}",
    "{{$x : 1}}",
    "{{.X | | .Y}}",
    "{{| .Y}}",
    "{{.X,.Y}}",
    "{{end -}} {{if}}",
];

const FAILING: &[&str] = &[
    "{{nil}}",
    "{{if nil}}{{end}}",
    "{{1 2}}",
    "{{(1) 2}}",
    "{{.Missing}}",
    "{{.X.Y}}",
    "{{.I.Y}}",
    "{{.Strings.X}}",
    "{{.Pointer.Name}}",
    "{{.X 1}}",
    "{{.M.A 1}}",
    "{{.Method0 1}}",
    "{{1 | .Method0}}",
    "{{.Echo}}",
    "{{.Echo 1}}",
    "{{.Echo nil}}",
    "{{.Echo .I}}",
    "{{.Echo .Any.none}}",
    "{{.Add 1.5 2}}",
    "{{.Add 1 .Big}}",
    "{{.Add `1` 2}}",
    "{{.Fail}}",
    "{{or 0 0 (.Fail)}}",
    "{{and}}",
    "{{or}}",
    "{{not}}",
    "{{not 1 2}}",
    "{{len}}",
    "{{len 1}}",
    "{{len nil}}",
    "{{len .Plain}}",
    "{{index}}",
    "{{index nil 1}}",
    "{{index .Ints 3}}",
    "{{index .Ints -1}}",
    "{{index .Ints `a`}}",
    "{{index .Ints nil}}",
    "{{index .M 1}}",
    "{{index .M nil}}",
    "{{index .Plain 1}}",
    "{{index `abc` 3}}",
    "{{slice .Ints 2 1}}",
    "{{slice .Ints 4}}",
    "{{slice .Ints 1 2 3 4}}",
    "{{slice .Ints 2 2 1}}",
    "{{slice `abc` 0 1 2}}",
    "{{slice .M}}",
    "{{slice nil}}",
    "{{eq}}",
    "{{eq 1}}",
    "{{eq 1 `1`}}",
    "{{eq 1 1.0}}",
    "{{eq true 1}}",
    "{{eq .M .M}}",
    "{{eq .Strings .Strings}}",
    "{{eq .Strings .M}}",
    "{{ne 1}}",
    "{{ne 1 2 3}}",
    "{{lt 1 `2`}}",
    "{{lt true false}}",
    "{{lt nil 1}}",
    "{{lt .Ints .Ints}}",
    "{{lt 1}}",
    "{{printf}}",
    "{{printf 1}}",
    "{{printf nil}}",
    "{{printf .I}}",
    "{{call}}",
    "{{call nil}}",
    "{{call .X}}",
    "{{1 | call}}",
    "{{range 1.5}}{{end}}",
    "{{range .X}}{{end}}",
    "{{range .Plain}}{{end}}",
    "{{range $i, $x := 3}}{{end}}",
    "{{template `none`}}",
    "{{18446744073709551615}}",
    "{{define `t`}}{{template `t`}}{{end}}{{template `t`}}",
    "{{if false}}{{$x := 1}}{{end}}{{or 1 ($y := 2)}}{{$y}}",
];

#[test]
fn what_go_does_not_parse_is_refused() {
    for template in UNPARSABLE {
        assert!(Template::parse("test", template).is_err(), "{template}");
    }
}

/// Complex constants are all that Go parses and we refuse.
#[test]
fn what_go_parses_is_taken() {
    for template in [
        "{{nil}}",
        "{{if nil}}{{end}}",
        "{{printf}}",
        "{{index}}",
        "{{1 2}}",
        "{{.X|.Y}}",
        "{{.X|}}",
        "{{.X (.Y .Z) (.A | .B .C) (.E)}}",
        "{{range .SI 1 -3.2 true false 'a' nil}}{{end}}",
        "{{with $x := 3}}{{$x 23}}{{end}}",
        "{{template `x`}}",
        "{{$x:=.}}{{$x +2}}",
        "{{range $x = 0}}{{$x}}{{end}}",
        "{{range $i, $x := .}}{{$i}}{{$x}}{{end}}",
        "{{range $i,$x:=.}}{{end}}",
        "{{- /*\nhello\n*/ -}}",
        "{{range .}}{{ break }}{{ continue }}{{end}}",
        "{{18446744073709551615}}",
        "{{(((1)))}}",
        "{{define `x`}}{{end}}{{define `x`}}{{end}}",
        "{{if .}}{{else}}{{if .}}{{end}}{{end}}",
        "{{printf `a` | html}}",
    ] {
        assert!(Template::parse("test", template).is_ok(), "{template}");
    }
    assert!(Template::parse("test", "{{1i}}").is_err());
    assert!(Template::parse("test", "{{1+2i}}").is_err());
}

#[test]
fn errors_name_the_line() {
    let error = Template::parse("test", "a\nb\n{{nope}}").unwrap_err();
    assert_eq!(
        (error.line, error.to_string().as_str()),
        (3, "line 3: function \"nope\" not defined")
    );
}

#[test]
fn what_go_cannot_execute_fails() {
    for template in FAILING {
        let error = data::run(template).expect_err(template);
        assert!(error.starts_with("exec"), "{template}: {error}");
    }
}

#[test]
fn hostile_templates_end_soon_with_an_error() {
    let nested = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let ifs = "{{if 1}}".repeat(100_000);
    let chain = format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(100_000));
    let calls = "{{define `t`}}".to_owned() + &"{{if 1}}".repeat(150) + "{{template `t`}}" + &"{{end}}".repeat(151);
    for template in [
        format!("{{{{{nested}}}}}"),
        ifs,
        chain,
        format!("{calls}{{{{template `t`}}}}"),
        "{{range 9000000000000000000}}{{end}}".to_owned(),
        "{{range 1000000000}}x{{end}}".to_owned(),
        "{{range 100000}}{{range 100000}}{{end}}{{end}}".to_owned(),
        "{{$x := `xxxxxxxx`}}{{range 1000}}{{$x = print $x $x}}{{end}}".to_owned(),
        "{{$x := `<<<<<<<<`}}{{range 1000}}{{$x = js $x}}{{end}}".to_owned(),
        "{{$x := printf `%1000000d` 1}}{{range 100000}}{{if js $x}}{{end}}{{end}}".to_owned(),
        "{{range 1000000}}{{printf `%1000000d` 1}}{{end}}".to_owned(),
        "{{printf `%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d` 1 1 1 1 1 1 1 1 1}}"
            .to_owned(),
        "{{printf `%.9999999f` 1.0}}".to_owned(),
    ] {
        let begun = Instant::now();
        let short: String = template.chars().take(60).collect();
        assert!(data::run(&template).is_err(), "{short}");
        assert!(begun.elapsed() < LONGEST, "{short}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_parses_or_not_and_never_panics(template in "\\PC{0,80}") {
        let _either = data::run(&template);
    }

    #[test]
    fn any_tokens_parse_or_not_and_never_panic(
        tokens in proptest::collection::vec(proptest::sample::select(vec![
            "{{", "}}", "{{- ", " -}}", " ", " ", " ", "if", "else", "end", "range", "with", "define", "template",
            "block", "break", "continue", "nil", "true", ".", ".X", ".I", ".M", ".Strings", ".Any", ".Plain", ".Add",
            "$", "$x", "$y", ":=", "=", ",", "|", "(", ")", "1", "0", "-1", "1.5", "'a'", "\"s\"", "`%d`", "`%*v`",
            "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js", "urlquery",
            "call", "eq", "lt", "/*", "*/", "text",
        ]), 0..40)
    ) {
        let _either = data::run(&tokens.concat());
    }

    #[test]
    fn any_format_prints_and_never_panics(format in "[%+# 0-9.*vTtbcdoOqxXUeEfFgGsp\\[\\]é]{0,24}", which in 0..12usize) {
        let value = [".X", ".I", ".F", ".True", ".Strings", ".M", ".Any", ".Named", ".Plain", ".Pointer", "nil", ".Broken"][which];
        let template = format!("{{{{printf {format:?} {value} {value} 3}}}}");
        prop_assert!(data::run(&template).is_ok(), "{template}");
    }
}
