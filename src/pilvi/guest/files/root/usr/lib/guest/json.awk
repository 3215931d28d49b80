# Flattens JSON: one line "path/to/value<TAB>value" for each text, number and word in it.
function skip() { while (at <= length(text) && index(" \t\r\n", substr(text, at, 1))) at++ }
function read_text(    out, c, h) {
    out = ""
    at++
    while (at <= length(text) && (c = substr(text, at, 1)) != "\"") {
        if (c == "\\") {
            c = substr(text, ++at, 1)
            if (c == "n" || c == "r" || c == "t") c = " "
            else if (c == "u") { c = "?"; at += 4 }
        }
        out = out c
        at++
    }
    at++
    return out
}
function read_value(path,    c, n, name) {
    skip()
    c = substr(text, at, 1)
    if (c == "{" || c == "[") {
        at++
        for (n = 0; at <= length(text); n++) {
            skip()
            if (index("}]", substr(text, at, 1))) break
            if (c == "{") { name = read_text(); skip(); at++ } else name = n
            read_value(path == "" ? name : path "/" name)
            skip()
            if (substr(text, at, 1) == ",") at++
        }
        at++
    } else if (c == "\"") {
        print path "\t" read_text()
    } else {
        n = at
        while (at <= length(text) && !index("]},: \t\r\n", substr(text, at, 1))) at++
        if (at == n) at++
        print path "\t" substr(text, n, at - n)
    }
}
{ text = text $0 "\n" }
END { at = 1; read_value("") }
