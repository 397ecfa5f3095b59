package protocol_test

import (
	"testing"

	. "cofferdam/examples/isabelle/protocol"
)

// TestArguments: the empty string is a bad argument.
func TestArguments(t *testing.T) {
	const id = `"session_id":"` + session + `"`
	defaults := `"pretty_margin":76,"unicode_symbols":false,"export_pattern":"","check_delay":0.5,"check_limit":0,"watchdog_timeout":600,"nodes_status_delay":-1,"commit_cleanup_delay":60}`
	use := `{` + id + `,"theories":["A"],` + defaults
	for _, tt := range []struct{ command, argument, want string }{
		{"help", ``, ` `}, {"help", `null`, ``}, {"shutdown", ``, ` `}, {"shutdown", `{}`, ``}, {"frob", `{}`, ``},
		{"cancel", `{"task":"` + task + `"}`, `{"task":"` + task + `"}`}, {"cancel", `{"task":"3F2B8C1E-7A60-4A55-9D1B-0C4C2F9E1A77"}`, `{"task":"` + task + `"}`},
		{"cancel", ``, ``}, {"cancel", `{}`, ``}, {"cancel", `[]`, ``}, {"cancel", `{"task":null}`, ``}, {"cancel", `{"task":"x"}`, ``}, {"cancel", `{"task":"3f2b8c1e-7a60-4a55-9d1b-0c4c2f9e1a7"}`, ``},
		{"cancel", `{"task":"3f2b8c1e-7a60-4a55-9d1b-0c4c2f9e1a7g"}`, ``}, {"cancel", `{"task":"3f2b8c1e.7a60-4a55-9d1b-0c4c2f9e1a77"}`, ``},
		{"session_stop", `{` + id + `,"more":1}`, `{` + id + `}`}, {"session_stop", `{"session_id":1}`, ``},
		{"session_build", `{"session":"HOL"}`, `{"session":"HOL"}`}, {"session_build", `{}`, ``}, {"session_build", `{"session":null}`, ``},
		{"session_build", `{"session":"HOL","verbose":true,"dirs":[],"options":["a=b"],"include_sessions":["B"],"preferences":"p","print_mode":["x"]}`,
			`{"session":"HOL","preferences":"p","options":["a=b"],"dirs":[],"include_sessions":["B"]}`},
		{"session_build", `{"session":"HOL","dirs":null}`, ``}, {"session_build", `{"session":"HOL","dirs":"x"}`, ``}, {"session_build", `{"session":"HOL","dirs":[1]}`, ``}, {"session_build", `{"session":"HOL","preferences":null}`, ``},
		{"session_start", `{"session":"HOL","print_mode":["x"]}`, `{"session":"HOL","print_mode":["x"]}`}, {"session_start", `{"session":"HOL","print_mode":1}`, ``},
		{"use_theories", `{` + id + `,"theories":["A"]}`, use}, {"use_theories", `{` + id + `}`, ``}, {"use_theories", `{"theories":["A"]}`, ``},
		{"use_theories", `{` + id + `,"theories":["A"],"check_delay":null,"check_limit":"x","watchdog_timeout":[],"nodes_status_delay":{},"commit_cleanup_delay":true}`, use},
		{"use_theories", `{` + id + `,"theories":["A"],"check_limit":2.5}`, use}, {"use_theories", `{` + id + `,"theories":["A"],"check_limit":1e300}`, use},
		{"use_theories", `{` + id + `,"theories":["A"],"pretty_margin":null}`, ``}, {"use_theories", `{` + id + `,"theories":["A"],"unicode_symbols":1}`, ``}, {"use_theories", `{` + id + `,"theories":["A"],"export_pattern":1}`, ``},
		{"use_theories", `{` + id + `,"theories":["A"],"master_dir":"/a","pretty_margin":80,"unicode_symbols":true,"export_pattern":"*:**","check_delay":1,"check_limit":9,"watchdog_timeout":5,"nodes_status_delay":1.5,"commit_cleanup_delay":7}`,
			`{` + id + `,"theories":["A"],"master_dir":"/a","pretty_margin":80,"unicode_symbols":true,"export_pattern":"*:**","check_delay":1,"check_limit":9,"watchdog_timeout":5,"nodes_status_delay":1.5,"commit_cleanup_delay":7}`},
		{"purge_theories", `{` + id + `}`, `{` + id + `,"all":false}`}, {"purge_theories", `{` + id + `,"theories":["A"],"master_dir":"d","all":true}`, `{` + id + `,"theories":["A"],"master_dir":"d","all":true}`},
		{"purge_theories", `{` + id + `,"all":"yes"}`, ``}, {"purge_theories", `{` + id + `,"theories":null}`, ``},
		{"echo", `[1]`, `[1]`},
	} {
		m := Message{tt.command, tt.argument}
		v, err := m.Value(Bounds{})
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		a, ok := m.Arguments(v)
		if ok != (tt.want != "") {
			t.Errorf("the arguments of %+v are %+v, %v", m, a, ok)
			continue
		}
		if o, is := a.(interface{ Object() Object }); is {
			a = o.Object()
		}
		if got := string(Encode(nil, a)); ok && tt.want != " " && got != tt.want {
			t.Errorf("the arguments of %+v are\n%s, want\n%s", m, got, tt.want)
		}
	}
}
