package isabelletest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Target is a server that is held to the tables.
type Target struct {
	Address, Password string
	Gateway           bool // it is one, and answers as it should where that is not what the server behind it would
}

// exchange is what a client sends and what comes back, byte by byte. In the latter
// UUID stands for any id of a version 4.
type exchange struct {
	name, send, want string
	gateway          string // what a gateway answers, if it differs
}

const (
	hint = "NOTE \"Command 'help' provides list of commands\"\n"
	help = "118\nOK [\"cancel\",\"echo\",\"help\",\"purge_theories\",\"session_build\",\"session_start\",\"session_stop\",\"shutdown\",\"use_theories\"]\n"
	none = "00000000-0000-4000-8000-000000000000" // an id that no server gives
)

func bad(command string) string { return fmt.Sprintf("ERROR \"Bad command '%s'\"\n", command) }

// long is a message with its header.
func long(message string) string {
	if len(message) <= 100 {
		return message + "\n"
	}
	return fmt.Sprintf("%d\n%s\n", len(message)+1, message)
}

func malformed(command, argument string) string {
	return long(fmt.Sprintf(`ERROR {"kind":"error","message":"Malformed argument for command '%s'","argument":"%s"}`, command, argument))
}

func badArgument(command, argument string) string {
	return long(fmt.Sprintf(`ERROR {"kind":"error","message":"Bad argument for command '%s'","argument":"%s"}`, command, argument))
}

var framing = []exchange{
	{name: "a line", send: "echo 1\n", want: "OK 1\n"},
	{name: "a line that ends like those of Windows", send: "echo 1\r\n", want: "OK 1\n"},
	{name: "a block that counts its LF", send: "7\necho 1\n", want: "OK 1\n"},
	{name: "a block without one", send: "6\necho 1", want: "OK 1\n"},
	{name: "a block with CRLF", send: "8\necho 1\r\n", want: "OK 1\n"},
	{name: "a header with CRLF", send: "7\r\necho 1\n", want: "OK 1\n"},
	{name: "a header with zeros before it", send: "0007\necho 1\n", want: "OK 1\n"},
	{name: "a block with lines in it", send: "14\necho {\n\"a\":1}\n", want: "OK {\"a\":1}\n"},
	{name: "a block with one LF more than counted", send: "7\necho 1\n\n", want: "OK 1\n" + hint},
	{name: "two commands in one packet", send: "echo 1\necho 2\n", want: "OK 1\nOK 2\n"},
	{name: "a block and a line in one packet", send: "7\necho 1\necho 2\n", want: "OK 1\nOK 2\n"},
	{name: "the empty line", send: "\n", want: hint},
	{name: "the empty block", send: "0\n", want: hint},
	{name: "a block of only LF", send: "1\n\n", want: hint},
	{name: "+5 is no length", send: "+5\n", want: bad("")},
	{name: "-0 is no length", send: "-0\n", want: bad("")},
	{name: "a blank before digits", send: " 5\n", want: bad("")},
	{name: "a blank after digits", send: "5 \n", want: bad("5")},
	{name: "digits of others are none", send: "٥\n", want: bad("")},
	{name: "more digits than integers have", send: "99999999999999999999\n", want: bad("99999999999999999999")},
	{name: "an answer of 100 bytes is a line", send: fmt.Sprintf("echo \"%095d\"\n", 0), want: fmt.Sprintf("OK \"%095d\"\n", 0)},
	{name: "one of 101 is a block", send: fmt.Sprintf("echo \"%096d\"\n", 0), want: fmt.Sprintf("102\nOK \"%096d\"\n", 0)},
	{name: "bytes are counted, not characters", send: "echo \"" + strings.Repeat("ä", 48) + "\"\n", want: "102\nOK \"" + strings.Repeat("ä", 48) + "\"\n"},
	{name: "help", send: "help\n", want: help},
	{name: "help as a block", send: "5\nhelp\n", want: help},
}

var grammar = []exchange{
	{name: "no command", send: "frob\n", want: bad("frob")},
	{name: "no command with an argument", send: "frob {\"x\": [}\n", want: bad("frob")},
	{name: "capitals are others", send: "HELP\n", want: bad("HELP")},
	{name: "dots are of the name", send: "echo.x 1\n", want: bad("echo.x")},
	{name: "no name at all", send: "{\"a\":1}\n", want: bad("")},
	{name: "no blank between", send: "echo{\"a\":1}\n", want: "OK {\"a\":1}\n"},
	{name: "all kinds of blanks", send: "echo \t\v\f {\"a\":1}\n", want: "OK {\"a\":1}\n"},
	{name: "unit", send: "echo\n", want: "OK\n"},
	{name: "unit and blanks", send: "echo  \n", want: "OK\n"},
	{name: "null is not unit", send: "echo null\n", want: "OK null\n"},
	{name: "true", send: "echo true\n", want: "OK true\n"},
	{name: "a list", send: "echo [ 1 , \"a\" , [ ] , { } ]\n", want: "OK [1,\"a\",[],{}]\n"},
	{name: "a number that is whole", send: "echo [1.0, 1e2, -3.0, 0.5, 1E-2]\n", want: "OK [1,100,-3,0.5,0.01]\n"},
	{name: "characters stay", send: "echo \"\\u00e4 ∀ <&>\"\n", want: "OK \"ä ∀ <&>\"\n"},
	{name: "controls are escaped", send: "echo \"\\u0001\\u001f\\u007f\\u009f\"\n", want: "OK \"\\u0001\\u001f\\u007f\\u009f\"\n"},
	{name: "quotes and strokes are escaped", send: "echo \"\\\"\\\\\\/\"\n", want: "OK \"\\\"\\\\/\"\n"},
	{name: "of two fields the last counts", send: "echo {\"a\":1,\"a\":2}\n", want: "OK {\"a\":2}\n"},
	{name: "a comma too many", send: "echo [1,]\n", want: malformed("echo", "[1,]")},
	{name: "a comment", send: "echo 1 // one\n", want: malformed("echo", "1 // one")},
	{name: "two values", send: "echo 1 2\n", want: malformed("echo", "1 2")},
	{name: "quotes of others", send: "echo 'a'\n", want: malformed("echo", "'a'")},
	{name: "a tab in a text", send: "echo \"\t\"\n", want: malformed("echo", `\"\t\"`)},
	{name: "a number with zeros", send: "echo 01\n", want: malformed("echo", "01")},
	{name: "no number", send: "echo NaN\n", want: malformed("echo", "NaN")},
	{name: "an open list", send: "echo [1\n", want: malformed("echo", "[1")},
	{name: "a word", send: "help me\n", want: malformed("help", "me")},
	{name: "markup", send: "echo \x05\x06a\x06b=c\x05x\x05\x06\x05\n", want: "OK \x05\x06a\x06b=c\x05x\x05\x06\x05\n",
		gateway: badArgument("echo", "\\u0005\\u0006a\\u0006b=c\\u0005x\\u0005\\u0006\\u0005")},
	{name: "open markup", send: "echo \x05\x06a\x05x\n", want: malformed("echo", "\\u0005\\u0006a\\u0005x")},
}

// unknown is what a task says of a session that there is not; a gateway, which need not ask, says it at once.
var unknown = exchange{
	want:    "OK {\"task\":\"UUID\"}\n" + fmt.Sprintf("132\nFAILED {\"kind\":\"error\",\"message\":\"No session '%s'\",\"task\":\"UUID\"}\n", none),
	gateway: fmt.Sprintf("ERROR {\"kind\":\"error\",\"message\":\"No session '%s'\"}\n", none),
}

func wrong(command, argument string) exchange {
	return exchange{name: command + " " + argument, send: command + " " + argument + "\n", want: badArgument(command, strings.NewReplacer(`"`, `\"`).Replace(argument))}
}

func gone(name, command, argument string) exchange {
	return exchange{name: name, send: command + " " + argument + "\n", want: unknown.want, gateway: unknown.gateway}
}

var arguments = []exchange{
	{name: "cancel without one", send: "cancel\n", want: badArgument("cancel", "")},
	wrong("help", "1"), wrong("help", "null"), wrong("shutdown", "{}"),
	wrong("cancel", "{}"), wrong("cancel", "[]"), wrong("cancel", `{"task":1}`), wrong("cancel", `{"task":"x"}`), wrong("cancel", `{"task":null}`),
	wrong("session_stop", "{}"), wrong("session_stop", `{"session_id":"3"}`),
	wrong("session_start", "{}"), wrong("session_start", `{"session":null}`), wrong("session_start", `{"session":["HOL"]}`),
	wrong("session_start", `{"session":"HOL","options":null}`), wrong("session_start", `{"session":"HOL","options":"a"}`),
	wrong("session_start", `{"session":"HOL","options":[1]}`), wrong("session_start", `{"session":"HOL","dirs":"x"}`),
	wrong("session_start", `{"session":"HOL","include_sessions":{}}`), wrong("session_start", `{"session":"HOL","print_mode":"x"}`),
	wrong("session_start", `{"session":"HOL","preferences":false}`),
	wrong("session_build", "{}"), wrong("session_build", `{"session":1}`),
	wrong("use_theories", "{}"), wrong("use_theories", `{"session_id":"`+none+`"}`), wrong("use_theories", `{"theories":[]}`),
	wrong("use_theories", `{"session_id":"`+none+`","theories":"A"}`),
	wrong("use_theories", `{"session_id":"`+none+`","theories":[],"master_dir":null}`),
	wrong("use_theories", `{"session_id":"`+none+`","theories":[],"unicode_symbols":1}`),
	wrong("use_theories", `{"session_id":"`+none+`","theories":[],"export_pattern":[]}`),
	wrong("use_theories", `{"session_id":"`+none+`","theories":[],"pretty_margin":"76"}`),
	wrong("purge_theories", "{}"), wrong("purge_theories", `{"session_id":"`+none+`","all":"yes"}`),
	{name: "cancel of nothing", send: `cancel {"task":"` + none + `"}` + "\n", want: "OK\n"},
	gone("a session that there is not", "session_stop", `{"session_id":"`+none+`"}`),
	gone("the same to use", "use_theories", `{"session_id":"`+none+`","theories":[]}`),
	gone("fields that nobody knows", "use_theories", `{"session_id":"`+none+`","theories":[],"colour":{"a":[1]}}`),
	gone("times that are none", "use_theories", `{"session_id":"`+none+`","theories":[],"check_delay":"x","check_limit":null,"watchdog_timeout":[],"nodes_status_delay":{},"commit_cleanup_delay":true}`),
	{name: "the same to purge", send: `purge_theories {"session_id":"` + none + `"}` + "\n",
		want: fmt.Sprintf("ERROR {\"kind\":\"error\",\"message\":\"No session '%s'\"}\n", none)},
}

var anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// Conforms holds the target to all that can be told without a session.
func Conforms(t *testing.T, target Target) {
	t.Run("handshake", func(t *testing.T) { handshake(t, target) })
	for _, table := range []struct {
		name string
		rows []exchange
	}{{"framing", framing}, {"grammar", grammar}, {"arguments", arguments}} {
		t.Run(table.name, func(t *testing.T) {
			for _, row := range table.rows {
				t.Run(row.name, func(t *testing.T) {
					c := Login(t, target.Address, target.Password)
					want := row.want
					if target.Gateway && row.gateway != "" {
						want = row.gateway
					}
					row.check(t, c, want)
					c.Close()
				})
			}
			t.Run("all on one connection", func(t *testing.T) {
				c := Login(t, target.Address, target.Password)
				for _, row := range table.rows {
					want := row.want
					if target.Gateway && row.gateway != "" {
						want = row.gateway
					}
					row.check(t, c, want)
				}
				c.Close()
			})
		})
	}
}

// check sends what the row says and compares what comes with want, and that nothing more does.
func (row exchange) check(t *testing.T, c *Client, want string) {
	t.Helper()
	end := "echo \"the end of " + strings.ReplaceAll(row.name, `"`, "") + "\"\n"
	c.Raw(row.send)
	got := ""
	for len(got) < len(want) { // ids are as long as UUID is not
		_, frame, err := c.Receive()
		if err != nil {
			t.Fatalf("%q: %v after %q, want %q", row.send, err, got+frame, want)
		}
		if got += strings.ReplaceAll(anyUUID.ReplaceAllString(strings.ReplaceAll(frame, none, "NONE"), "UUID"), "NONE", none); !strings.HasPrefix(want, got) {
			t.Fatalf("%q was answered by\n%q, want\n%q", row.send, got, want)
		}
	}
	c.Raw(end)
	if r := c.Next(); r.Kind != "OK" || !strings.HasPrefix(r.Text, `"the end of`) {
		t.Fatalf("%q: after the answer came %s %s", row.send, r.Kind, r.Text)
	}
}

func handshake(t *testing.T, target Target) {
	t.Run("one short line", func(t *testing.T) {
		c := Connect(t, target.Address)
		c.Raw(target.Password + "\n")
		message, frame, err := c.Receive()
		if err != nil || len(message) > 100 || frame != message+"\n" || !regexp.MustCompile(`^OK \{"isabelle_id":"[^"]*","isabelle_name":"Isabelle[^"]*"\}$`).MatchString(message) {
			t.Errorf("%q, %v", frame, err)
		}
	})
	t.Run("with CR", func(t *testing.T) {
		c := Connect(t, target.Address)
		c.Raw(target.Password + "\r\necho 1\n")
		if line := c.Line(); !strings.HasPrefix(line, "OK {") {
			t.Errorf("%q", line)
		}
		if line := c.Line(); line != "OK 1" {
			t.Errorf("the command in the same packet: %q", line)
		}
	})
	for _, tt := range []struct{ name, send string }{
		{"a wrong one", "00000000-0000-4000-8000-000000000000\n"},
		{"none", "\n"},
		{"half of it", target.Password[:len(target.Password)/2] + "\n"},
		{"with a blank", target.Password + " \n"},
		{"in capitals", strings.ToUpper(target.Password) + "X\n"},
		{"as a block", fmt.Sprintf("%d\n%s\n", len(target.Password)+1, target.Password)},
		{"a command instead", "help\n"},
		{"a wrong one and then the right one", "x\n" + target.Password + "\nhelp\n"},
		{"a request of the Web", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		t.Run(tt.name+" is silence", func(t *testing.T) {
			c := Connect(t, target.Address)
			c.Raw(tt.send)
			if !c.Ended() {
				t.Errorf("%q was not answered by the end", tt.send)
			}
		})
	}
}
