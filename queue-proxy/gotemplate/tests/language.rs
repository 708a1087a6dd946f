//! What templates print, case by case, as Go's `text/template` does: values, functions, control, trimming.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data;

fn prints(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        let output = data::run(template).map(|out| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(output.as_deref(), Ok(*expected), "{template}");
    }
}

#[test]
fn values_print_as_in_go() {
    prints(&[
        ("", ""),
        ("some text", "some text"),
        ("{{.X}}", "x"),
        ("{{.I}}", "17"),
        ("{{.Big}}", "5"),
        ("{{.F}}", "1.5"),
        ("{{.Small}}", "1.25e-05"),
        ("{{.True}}", "true"),
        ("{{.Strings}}", "[a b c]"),
        ("{{.None}}", "[]"),
        ("{{.Ints}}", "[3 4 5]"),
        ("{{.M}}", "map[A:[1 2] B:[x]]"),
        ("{{.Any}}", "map[nothing:<nil> one:1 two:2]"),
        ("{{.Any.none}}", "<no value>"),
        ("{{.Any.nothing}}", "<no value>"),
        ("{{.Any.none.deeper}}", "<no value>"),
        ("{{.M.A}}", "[1 2]"),
        ("{{.M.none}}", "<no value>"),
        ("{{.Named}}", "<n1>"),
        ("{{.Names}}", "[<n1> <n2>]"),
        ("{{.Plain}}", "{Ann 3}"),
        ("{{.Plain.Count}}", "3"),
        ("{{.Pointer}}", "<nil>"),
        ("{{.Broken}}", "a\u{fffd}b"),
        ("{{.}}", "{x 17}"),
        ("{{$}}", "{x 17}"),
        ("{{$.X}}", "x"),
        ("{{(.).X}}", "x"),
        ("{{($.Plain).Name}}", "Ann"),
        ("{{.Method0}}", "M0"),
        ("{{.Echo `e`}}", "e"),
        ("{{.Echo .X}}", "x"),
        ("{{.Add 1 2}}", "3"),
        ("{{.Add 1.0 0x10}}", "17"),
        ("{{.Add .I 'a'}}", "114"),
        ("{{1 | .Add 2}}", "3"),
        ("{{.Show nil}}", "<no value>"),
        ("{{.Show 1.0 | printf \"%T\"}}", "float64"),
        ("{{(.Echo .X)}}", "x"),
    ]);
}

#[test]
fn constants_print_as_in_go() {
    prints(&[
        ("{{1}}", "1"),
        ("{{-3}}", "-3"),
        ("{{+3}}", "3"),
        ("{{0x10}}", "16"),
        ("{{0b11}}", "3"),
        ("{{0o17}}", "15"),
        ("{{1_000}}", "1000"),
        ("{{1.0}}", "1"),
        ("{{1.50}}", "1.5"),
        ("{{1e3}}", "1000"),
        ("{{1e6}}", "1e+06"),
        ("{{1e21}}", "1e+21"),
        ("{{.5}}", "0.5"),
        ("{{0x1p-2}}", "0.25"),
        ("{{'a'}}", "97"),
        (r"{{'\n'}}", "10"),
        ("{{'世'}}", "19990"),
        ("{{true}}", "true"),
        ("{{false}}", "false"),
        (r#"{{"a\tb\u00e9\x41\101"}}"#, "a\tb\u{e9}AA"),
        ("{{`raw \\n\nline`}}", "raw \\n\nline"),
        ("{{9223372036854775807}}", "9223372036854775807"),
        ("{{printf \"%T %T %T\" 1 1.0 'a'}}", "int float64 int"),
    ]);
}

#[test]
fn variables_live_until_the_end_of_their_block() {
    prints(&[
        ("{{$x := 1}}{{$x}}", "1"),
        ("{{$x := 2}}{{$x = 3}}{{$x}}", "3"),
        ("{{$x := 2}}{{if true}}{{$x = 3}}{{end}}{{$x}}", "3"),
        (
            "{{$x := 1}}{{if true}}{{$x := 2}}{{if true}}{{$x = 3}}{{end}}{{end}}{{$x}}",
            "1",
        ),
        ("{{with $x := .Plain}}{{$x.Name}}{{.Count}}{{end}}", "Ann3"),
        ("{{if $x := .X}}{{$x}}{{end}}", "x"),
        ("{{$x := .X | printf `%s%s` `y`}}{{$x}}", "yx"),
        ("{{$ñ := 1}}{{$ñ}}", "1"),
        ("{{print ($x := 1) $x}}", "1 1"),
        ("{{range $x := .Ints}}{{$x}}{{end}}", "345"),
        ("{{range $i, $x := .Ints}}{{$i}}={{$x}},{{end}}", "0=3,1=4,2=5,"),
        ("{{range $k, $v := .M}}{{$k}}{{len $v}}{{end}}", "A2B1"),
        ("{{$i := 0}}{{range $i = .Ints}}{{end}}{{$i}}", "5"),
        (
            "{{$i := 0}}{{$x := 0}}{{range $i, $x = .Ints}}{{end}}{{$i}}{{$x}}",
            "25",
        ),
        ("{{template `t` .Plain}}{{define `t`}}{{$.Name}}{{end}}", "Ann"),
    ]);
}

#[test]
fn branches_and_loops_go_the_way_that_go_goes() {
    prints(&[
        ("{{if true}}T{{end}}", "T"),
        ("{{if false}}T{{else}}F{{end}}", "F"),
        ("{{if 0}}T{{else if 0.0}}E{{else}}F{{end}}", "F"),
        ("{{if eq 1 3}}1{{else if eq 2 3}}2{{else if eq 3 3}}3{{end}}", "3"),
        ("{{if ``}}T{{else}}F{{end}}", "F"),
        ("{{if `0`}}T{{else}}F{{end}}", "T"),
        ("{{if .None}}T{{else}}F{{end}}", "F"),
        ("{{if .M}}T{{end}}", "T"),
        ("{{if .Any.none}}T{{else}}F{{end}}", "F"),
        ("{{if .Pointer}}T{{else}}F{{end}}", "F"),
        ("{{if .Plain}}T{{end}}", "T"),
        ("{{if not .Pointer}}T{{end}}", "T"),
        ("{{if and .X .I}}T{{end}}", "T"),
        ("{{with .X}}<{{.}}>{{end}}", "<x>"),
        ("{{with .None}}T{{else}}{{.X}}{{end}}", "x"),
        ("{{with 0}}1{{else with .Plain}}{{.Name}}{{else}}3{{end}}", "Ann"),
        ("{{with .Plain}}{{$.X}}{{end}}", "x"),
        ("{{range .Strings}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range .None}}T{{else}}{{.X}}{{end}}", "x"),
        ("{{range .Any.none}}T{{else}}E{{end}}", "E"),
        ("{{range .M}}{{.}}{{end}}", "[1 2][x]"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i := 3}}{{$i}}{{end}}", "012"),
        ("{{range 0}}T{{else}}E{{end}}", "E"),
        ("{{range -1}}T{{else}}E{{end}}", "E"),
        ("{{range .Ints}}{{.}}{{break}}N{{else}}E{{end}}", "3"),
        ("{{range .Ints}}-{{.}}-{{continue}}N{{else}}E{{end}}", "-3--4--5-"),
        ("{{range .Ints}}{{if eq . 4}}{{break}}{{end}}{{.}}{{end}}", "3"),
        ("{{range .Ints}}{{if eq . 4}}{{continue}}{{end}}{{.}}{{end}}", "35"),
        (
            "{{range 2}}{{range 3}}{{if eq . 1}}{{break}}{{end}}{{.}}{{end}};{{end}}",
            "0;0;",
        ),
        ("{{range 2}}{{range 0}}{{else}}{{break}}{{end}}N{{end}}", ""),
        ("{{range 3}}{{with 1}}{{break}}{{end}}{{end}}ok", "ok"),
        ("{{template `t`}}{{define `t`}}[{{.}}]{{end}}", "[<no value>]"),
        (
            "{{define `t`}}[{{.}}]{{end}}{{template `t` 1}}{{template `t` .X}}",
            "[1][x]",
        ),
        ("{{block `b` .Plain}}{{.Name}}{{end}}", "Ann"),
        ("{{block `b` .I}}{{.}}{{end}}{{template `b` 2}}", "172"),
        ("{{define `e`}}{{end}}{{define `e`}}x{{end}}{{template `e`}}", "x"),
        ("{{define `test`}}own{{end}} \n", "own"),
    ]);
}

#[test]
fn spaces_are_trimmed_beside_marked_delimiters() {
    prints(&[
        ("a \n {{- 1 -}} \t\r\n b", "a1b"),
        ("a {{- 1}} b", "a1 b"),
        ("a {{1 -}} b", "a 1b"),
        ("a {{-1}} b", "a -1 b"),
        ("a {{- -1 -}} b", "a-1b"),
        ("a {{-\n1\n-}} b", "a1b"),
        ("a {{/* c */}} b", "a  b"),
        ("a {{- /* c */ -}} b", "ab"),
        ("a {{- /* c\nd */}} b", "a b"),
        ("{{1}}\n{{- 2}}", "12"),
        ("x\n{{-  3   -}}\ny", "x3y"),
        ("\u{a0}{{- 1}}", "\u{a0}1"),
        ("{{\n\"x\"\n|\nprintf\n}}", "x"),
        ("{{ $x \n := \n 1 \n }}{{$x}}", "1"),
        ("}} { {", "}} { {"),
        ("{{`{{`}}", "{{"),
    ]);
}

#[test]
fn logic_returns_what_decided() {
    prints(&[
        ("{{and 1 0}} {{and 0 1}} {{and 1 2}}", "0 0 2"),
        ("{{or 0 0}} {{or 1 0}} {{or 0 true}} {{or 1 2}}", "0 1 true 1"),
        ("{{or 0 1 (.Fail)}}", "1"),
        ("{{and 1 0 (.Fail)}}", "0"),
        ("{{and 1 .Any.none}}", "<no value>"),
        ("{{or 0 .Any.none}}", "<no value>"),
        (
            "{{1 | and 1}} {{0 | and 1}} {{1 | or 0}} {{0 | or 0}} {{2 | or 1}}",
            "1 0 1 0 1",
        ),
        ("{{not true}} {{not 0}} {{not .None}}", "false true true"),
        ("{{and true 1 `hi` | not}}", "false"),
        ("{{true | not | and 1}}", "false"),
    ]);
}

#[test]
fn comparisons_are_of_one_kind_and_of_any_integers() {
    prints(&[
        ("{{eq 1 1}} {{eq 1 2}} {{eq 1 2 1}}", "true false true"),
        ("{{eq .Big 5}} {{eq .I .Big}}", "true false"),
        ("{{eq (index .X 0) 120}} {{lt (index .X 0) 121}}", "true true"),
        ("{{eq `a` .X `x`}} {{eq .X `x`}}", "false true"),
        ("{{ne 1 2}} {{ne 1 1}}", "true false"),
        ("{{eq 1.5 .F}} {{lt 1.0 1.5}}", "true true"),
        ("{{eq true .True}}", "true"),
        ("{{lt 1 2}} {{le 2 2}} {{gt 2 1}} {{ge 1 2}}", "true true true false"),
        ("{{lt `a` `b`}} {{gt `b` `a`}}", "true true"),
        (
            "{{eq .Pointer nil}} {{eq nil .Pointer}} {{eq .Plain nil}}",
            "true true false",
        ),
        ("{{eq 1 nil}} {{eq nil nil}} {{eq .Any.none nil}}", "false true true"),
        ("{{eq .None nil}} {{eq .Strings nil}}", "true false"),
        ("{{eq .Named .Named}} {{eq .Named .Plain}}", "true false"),
        ("{{if lt .I 20}}low{{end}}", "low"),
    ]);
}

#[test]
fn collections_are_indexed_and_sliced() {
    prints(&[
        ("{{index .Strings 1}}", "b"),
        ("{{index .M `A`}}", "[1 2]"),
        ("{{index .M `A` 1}}", "2"),
        ("{{index .M `missing`}}", "[]"),
        ("{{index .Any `missing`}}", "<no value>"),
        ("{{index .Strings}}", "[a b c]"),
        ("{{index `abc` 1}}", "98"),
        ("{{1 | index .Ints}}", "4"),
        ("{{slice .Ints}}", "[3 4 5]"),
        ("{{slice .Ints 1}}", "[4 5]"),
        ("{{slice .Ints 1 2}}", "[4]"),
        ("{{slice .Ints 0 1 2}}", "[3]"),
        ("{{slice `hello` 1 3}}", "el"),
        ("{{slice .Word 0 2}}", "h\u{fffd}"),
        (
            "{{len .Ints}} {{len .M}} {{len .X}} {{len .Word}} {{len .None}}",
            "3 2 1 13 0",
        ),
    ]);
}

#[test]
fn text_is_made_safe_for_other_languages() {
    prints(&[
        ("{{html .S}}", "&lt;a href=&#34;x&#34;&gt;&#39;&amp;\\\n"),
        ("{{html `plain`}}", "plain"),
        ("{{html \"a\\x00b\"}}", "a\u{fffd}b"),
        ("{{html .Any.none}}", "&lt;no value&gt;"),
        ("{{html .Pointer}}", "&lt;nil&gt;"),
        ("{{html 1 2 `a`}}", "1 2a"),
        ("{{js .S}}", r#"\u003Ca href\u003D\"x\"\u003E\'\u0026\\\u000A"#),
        ("{{js `a=b&c`}}", r"a\u003Db\u0026c"),
        ("{{js `/plain?x`}}", "/plain?x"),
        ("{{js .Word}}", "h\u{e9}llo w\u{f6}rld"),
        ("{{js \"\u{2028}\u{200b}\x7f\"}}", "\\u2028\\u200B\x7f"),
        ("{{js .Broken}}", "a\u{fffd}b"),
        ("{{js .Named}}", r"\u003Cn1\u003E"),
        ("{{js}}", ""),
        ("{{.S | js | len}}", "45"),
        ("{{urlquery `http://a/b?c=d e~`}}", "http%3A%2F%2Fa%2Fb%3Fc%3Dd+e~"),
        ("{{urlquery .Word}}", "h%C3%A9llo+w%C3%B6rld"),
        ("{{urlquery 1 true}}", "1+true"),
    ]);
}

#[test]
fn print_joins_as_go_does() {
    prints(&[
        ("{{print}}", ""),
        ("{{print 1 2 3}}", "1 2 3"),
        ("{{print `a` 1 2 `b` `c` 3}}", "a1 2bc3"),
        ("{{print nil}} {{print nil nil}}", "<nil> <nil> <nil>"),
        ("{{print .Plain}} {{print .Named}}", "&{Ann 3} <n1>"),
        ("{{println}}", "\n"),
        ("{{println 1 `a` true}}", "1 a true\n"),
        ("{{print .Strings .M}}", "[a b c] map[A:[1 2] B:[x]]"),
    ]);
}
