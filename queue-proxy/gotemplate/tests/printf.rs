//! `printf`, case by case, as Go's `fmt` does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data;

fn prints(cases: &[(&str, &str)]) {
    for (arguments, expected) in cases {
        let template = format!("{{{{printf {arguments}}}}}");
        let output = data::run(&template).map(|out| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(output.as_deref(), Ok(*expected), "{template}");
    }
}

#[test]
fn strings() {
    prints(&[
        (r#""%s|%v" "a" "b""#, "a|b"),
        (r#""%q" "a""#, r#""a""#),
        (r#""%q" "a\n\"\\\x00\u2028é\xff""#, r#""a\n\"\\\x00\u2028é\xff""#),
        (r#""%+q" "é😀""#, r#""\u00e9\U0001f600""#),
        (r#""%#q" "a""#, "`a`"),
        (r#""%#q" "a`b""#, r#""a`b""#),
        (r#""%5s|%-5s|%05s" "a" "b" "c""#, "    a|b    |0000c"),
        (r#""%.2s|%5.1s" .Word .Word"#, "hé|    h"),
        (
            r#""%x|%X|% x|%#x|% #x" "hi" "hi" "hi" "hi" "hi""#,
            "6869|6869|68 69|0x6869|0x68 0x69",
        ),
        (r#""%8s" "é""#, "       é"),
        (r#""%T" "a""#, "string"),
        (r#""%#v" "a""#, r#""a""#),
        (r#""%d" "a""#, "%!d(string=a)"),
        (r#""%z" "a""#, "%!z(string=a)"),
        (r#""%5d" "hi""#, "%!d(string=   hi)"),
    ]);
}

#[test]
fn integers() {
    prints(&[
        (
            r#""%d %v %b %o %O %x %X" 42 42 42 42 42 42 42"#,
            "42 42 101010 52 0o52 2a 2A",
        ),
        (r#""%#b %#o %#x %#X" 42 42 42 42"#, "0b101010 052 0x2a 0X2A"),
        (r#""%5d|%-5d|%05d|%+d|% d" 42 42 42 42 42"#, "   42|42   |00042|+42| 42"),
        (
            r#""%05d|%-05d|%.4d|%8.4d" -42 -42 -42 -42"#,
            "-0042|-42  |-0042|   -0042",
        ),
        (r#""%.0d|%3.0d|%.0d" 0 0 1"#, "|   |1"),
        (
            r#""%c %c %q %U %#U" 97 19990 97 97 19990"#,
            "a 世 'a' U+0061 U+4E16 '世'",
        ),
        (r#""%c" -1"#, "\u{fffd}"),
        (r#""%04x" 127"#, "007f"),
        (r#""%08b" 5"#, "00000101"),
        (r#""%d" .Big"#, "5"),
        (r#""%T %T" .Big (index .X 0)"#, "int64 uint8"),
        (r#""%#v %#v" 7 (index .X 0)"#, "7 0x78"),
        (r#""%s" 42"#, "%!s(int=42)"),
        (r#""%t" 1"#, "%!t(int=1)"),
        (r#""%d" -9223372036854775808"#, "-9223372036854775808"),
        (r#""%x" -255"#, "-ff"),
    ]);
}

#[test]
fn floats_and_bools() {
    prints(&[
        (
            r#""%v %g %f %e %.2f %.3e" 1.5 1.5 1.5 1.5 1.256 12345.678"#,
            "1.5 1.5 1.500000 1.500000e+00 1.26 1.235e+04",
        ),
        (
            r#""%6.2f|%-8.1f|%08.3f|%+.1f|% .1f" 3.14159 2.5 -3.14159 1.0 1.0"#,
            "  3.14|2.5     |-003.142|+1.0| 1.0",
        ),
        (r#""%g %g %G" 1e6 1e-5 1e-7"#, "1e+06 1e-05 1E-07"),
        (r#""%.3g %.10g" 1234.5678 1234.5678"#, "1.23e+03 1234.5678"),
        (r#""%#g %#.3g %#v" 1.0 1.0 1.0"#, "1.00000 1.00 1"),
        (r#""%x %X" 1.5 1.5"#, "0x1.8p+00 0X1.8P+00"),
        (r#""%5t|%v|%-6t|" true false true"#, " true|false|true  |"),
        (r#""%d" 1.5"#, "%!d(float64=1.5)"),
        (r#""%d" true"#, "%!d(bool=true)"),
        (r#""%.6f" .Small"#, "0.000013"),
        (r#""%.0f %.0f" 0.5 1.5"#, "0 2"),
    ]);
}

#[test]
fn collections_and_structs() {
    prints(&[
        (
            r#""%v %s %q" .Strings .Strings .Strings"#,
            r#"[a b c] [a b c] ["a" "b" "c"]"#,
        ),
        (r#""%d" .Strings"#, "[%!d(string=a) %!d(string=b) %!d(string=c)]"),
        (r#""%x %02d" .Strings .Ints"#, "[61 62 63] [03 04 05]"),
        (r#""%v" .M"#, "map[A:[1 2] B:[x]]"),
        (r#""%q" .M"#, r#"map["A":["1" "2"] "B":["x"]]"#),
        (
            r#""%#v %#v" .Strings .None"#,
            r#"[]string{"a", "b", "c"} []string(nil)"#,
        ),
        (
            r#""%#v" .M"#,
            r#"map[string][]string{"A":[]string{"1", "2"}, "B":[]string{"x"}}"#,
        ),
        (r#""%v %+v" .Plain .Plain"#, "&{Ann 3} &{Name:Ann Count:3}"),
        (r#""%#v" .Plain"#, r#"&main.Plain{Name:"Ann", Count:3}"#),
        (r#""%v %s %q" .Named .Named .Named"#, r#"<n1> <n1> "<n1>""#),
        (
            r#""%T %T %T %T" .Plain .M .Strings .Pointer"#,
            "*main.Plain map[string][]string []string *main.Plain",
        ),
        (r#""%v %s" .Pointer .Pointer"#, "<nil> %!s(*main.Plain=<nil>)"),
        (r#""%v %d %s %T" nil nil nil nil"#, "<nil> %!d(<nil>) %!s(<nil>) <nil>"),
        (r#""%v" .Any"#, "map[nothing:<nil> one:1 two:2]"),
        (r#""%s" .Any"#, "map[nothing:%!s(<nil>) one:%!s(int=1) two:2]"),
    ]);
}

#[test]
fn wrong_formats_say_so() {
    prints(&[
        (r#""plain""#, "plain"),
        (r#""%%""#, "%"),
        (r#""100%""#, "100%!(NOVERB)"),
        (r#""%""#, "%!(NOVERB)"),
        (r#""%d""#, "%!d(MISSING)"),
        (r#""%d %d" 1"#, "1 %!d(MISSING)"),
        (r#""%d" 1 2"#, "1%!(EXTRA int=2)"),
        (r#""x" 1 nil "s""#, "x%!(EXTRA int=1, <nil>, string=s)"),
        (r#""%[2]d %[1]d" 1 2"#, "2 1"),
        (r#""%[2]d %d" 1 2"#, "2 %!d(MISSING)"),
        (r#""%[3]d" 1 2"#, "%!d(BADINDEX)"),
        (r#""%[x]d" 1"#, "%!d(BADINDEX)"),
        (r#""%[1]d %[1]v" 7"#, "7 7"),
        (r#""%*d|%-*d" 5 42 5 42"#, "   42|42   "),
        (r#""%*d" -5 42"#, "42   "),
        (r#""%.*f" 2 3.14159"#, "3.14"),
        (r#""%[1]*d" 3"#, "%!d(MISSING)"),
        (r#""%*d" "x" 42"#, "%!(BADWIDTH)42"),
        (r#""%.*d" "x" 42"#, "%!(BADPREC)42"),
        (r#""%!""#, "%!!(MISSING)"),
        (r#""%*[2]d" 2 3"#, " 3"),
        (r#""%.[2]d" 7"#, "%!d(BADINDEX)"),
        (r#""%[2]2d" 1 2"#, "%!d(BADINDEX)"),
        (r#""%[3]*.[2]*[1]f" 12.0 2 6"#, " 12.00"),
        (r#""%é" 1"#, "%!é(int=1)"),
        (r#""%-+05.1d" 3"#, "+3   "),
        (r#""%s %s" "a" "b" | print"#, "a b"),
        (r#""%s-%s" "a" | printf "%s:%d" "n""#, "n:%!d(string=a-%!s(MISSING))"),
    ]);
}
