package manager

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cofferdam/examples/isabelle/protocol"
)

const theTask, otherTask = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"

// TestLedger: what an instance may say, after what it was sent. The last reply of each row
// is the one in question; "" says that it is taken.
func TestLedger(t *testing.T) {
	start, stop, use := plan{name: "session_start", async: true}, plan{name: "session_stop", async: true}, plan{name: "use_theories", async: true}
	build, echo, cancel, purge := plan{name: "session_build", async: true}, plan{name: "echo"}, plan{name: "cancel"}, plan{name: "purge_theories"}
	begun := `OK {"task":"` + theTask + `"}`
	of := func(fields string) string { return `{` + fields + `,"task":"` + theTask + `"}` }
	for _, tt := range []struct {
		name    string
		sent    []plan
		replies []string
		want    string
	}{
		{"an answer", []plan{echo}, []string{`OK 1`}, ""},
		{"none was asked for", nil, []string{`OK 1`}, "OK without a command"},
		{"two answers", []plan{echo}, []string{`OK 1`, `OK 1`}, "OK without a command"},
		{"an error", []plan{echo}, []string{`ERROR "x"`}, ""},
		{"an error of nothing", nil, []string{`ERROR "x"`}, "ERROR without a command"},
		{"an error with a message", []plan{purge}, []string{`ERROR {"kind":"error","message":"x"}`}, ""},
		{"an error that says nothing", []plan{echo}, []string{`ERROR {}`}, "says nothing"},
		{"an error that is a number", []plan{echo}, []string{`ERROR 1`}, "says nothing"},
		{"unit", []plan{cancel}, []string{`OK`}, ""},
		{"null is not unit", []plan{cancel}, []string{`OK null`}, "a result of cancel"},
		{"purged", []plan{purge}, []string{`OK {"purged":[{"node_name":"a","theory_name":"b"}],"retained":[]}`}, ""},
		{"purged, and the rest is missing", []plan{purge}, []string{`OK {"purged":[]}`}, "a result of purge_theories"},
		{"nodes that are none", []plan{purge}, []string{`OK {"purged":[1],"retained":[]}`}, "a result of purge_theories"},
		{"a task", []plan{use}, []string{begun}, ""},
		{"a task without a name", []plan{use}, []string{`OK {"task":"x"}`}, "without a task"},
		{"a task that is unit", []plan{use}, []string{`OK`}, "without a task"},
		{"the same task twice", []plan{use, use}, []string{begun, begun}, "there was already"},
		{"a task that has ended", []plan{stop, stop}, []string{begun, `FAILED ` + of(`"kind":"error","message":"x"`), begun}, "there was already"},
		{"in another order", []plan{use, echo}, []string{`OK 1`}, "without a task"},
		{"a refusal instead", []plan{use}, []string{`ERROR {"kind":"error","message":"x"}`}, ""},
		{"started", []plan{start}, []string{begun, `FINISHED ` + of(`"session_id":"`+otherTask+`","tmp_dir":"/t"`)}, ""},
		{"started under no name", []plan{start}, []string{begun, `FINISHED ` + of(`"session_id":"x","tmp_dir":"/t"`)}, "a result of session_start"},
		{"started without a directory", []plan{start}, []string{begun, `FINISHED ` + of(`"session_id":"`+otherTask+`"`)}, "a result of session_start"},
		{"started under a name that is taken", []plan{start}, []string{begun, `FINISHED ` + of(`"session_id":"`+theTask+`","tmp_dir":"/t"`)}, "a session that there was already"},
		{"stopped", []plan{stop}, []string{begun, `FINISHED ` + of(`"ok":true,"return_code":0`)}, ""},
		{"stopped, perhaps", []plan{stop}, []string{begun, `FINISHED ` + of(`"ok":"maybe","return_code":0`)}, "a result of session_stop"},
		{"built", []plan{build}, []string{begun, `FINISHED ` + of(`"ok":true,"return_code":0,"sessions":[{}]`)}, ""},
		{"built numbers", []plan{build}, []string{begun, `FINISHED ` + of(`"ok":true,"return_code":0,"sessions":[1]`)}, "a result of session_build"},
		{"used", []plan{use}, []string{begun, `FINISHED ` + of(`"ok":true,"errors":[],"nodes":[],"more":[1]`)}, ""},
		{"used, without errors", []plan{use}, []string{begun, `FINISHED ` + of(`"ok":true,"nodes":[]`)}, "a result of use_theories"},
		{"failed", []plan{use}, []string{begun, `FAILED ` + of(`"kind":"error","message":"x","more":1`)}, ""},
		{"failed without words", []plan{use}, []string{begun, `FAILED ` + of(`"kind":"error"`)}, "without a message"},
		{"failed well", []plan{use}, []string{begun, `FAILED ` + of(`"kind":"writeln","message":"x"`)}, "of kind"},
		{"the end before the beginning", []plan{use}, []string{`FAILED ` + of(`"kind":"error","message":"x"`)}, "does not run"},
		{"the end of another", []plan{use}, []string{begun, `FINISHED {"task":"` + otherTask + `"}`}, "does not run"},
		{"two ends", []plan{stop}, []string{begun, `FINISHED ` + of(`"ok":true,"return_code":0`), `FINISHED ` + of(`"ok":true,"return_code":0`)}, "does not run"},
		{"the end of nothing", nil, []string{`FINISHED 1`}, "does not run"},
		{"a note", []plan{use}, []string{begun, `NOTE ` + of(`"kind":"writeln"`)}, ""},
		{"a note of another", []plan{use}, []string{begun, `NOTE {"task":"` + otherTask + `"}`}, "does not run"},
		{"a note of a number", []plan{use}, []string{begun, `NOTE {"task":1}`}, "does not run"},
		{"a late note", []plan{stop}, []string{begun, `FINISHED ` + of(`"ok":true,"return_code":0`), `NOTE ` + of(`"kind":"writeln"`)}, "late"},
		{"a text", nil, []string{`NOTE "x"`}, ""},
		{"a number", nil, []string{`NOTE 1`}, "no message"},
		{"unit for a note", nil, []string{`NOTE`}, "no message"},
		{"a state of theories", []plan{use}, []string{begun, `NOTE {"kind":"nodes_status","nodes_status":[]}`}, ""},
		{"a state of theories that are none", []plan{stop}, []string{begun, `NOTE {"kind":"nodes_status","nodes_status":[]}`}, "late"},
		{"another kind of no task", []plan{use}, []string{begun, `NOTE {"kind":"writeln"}`}, "of no task"},
		{"a command", nil, []string{`echo 1`}, `called "echo"`},
		{"nothing", nil, []string{``}, `called ""`},
		{"no JSON", []plan{echo}, []string{`OK {`}, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(func(session string) bool { return session == theTask })
			for i, p := range tt.sent {
				s := &sent{plan: p}
				if p.async {
					s.task = fmt.Sprintf("ours-%d", i)
				}
				l.sent(s)
			}
			for i, reply := range tt.replies {
				what, err := l.read(protocol.Parse([]byte(reply)), protocol.Bounds{})
				switch last := i == len(tt.replies)-1; {
				case err != nil && (!last || tt.want == ""):
					t.Errorf("%q is refused: %v", reply, err)
				case err == nil && last && tt.want != "":
					t.Errorf("%q is taken as %+v, want %q", reply, what, tt.want)
				case err != nil && !strings.Contains(err.Error(), tt.want) && !(tt.want == "late" && errors.Is(err, errLate)):
					t.Errorf("%q is refused: %v, want %q", reply, err, tt.want)
				case err == nil && strings.Contains(string(protocol.Encode(nil, what.value)), theTask) && !what.begun && what.value != nil && what.to != nil && what.to.task != "":
					t.Errorf("%q comes out with the instance's name of the task", reply)
				}
			}
		})
	}
}

// FuzzLedger: whatever an instance says, there is an answer for each command at most
// once, nothing is lost, and what is dropped changes nothing.
func FuzzLedger(f *testing.F) {
	f.Add("OK 1\nOK {\"task\":\"" + theTask + "\"}\nNOTE {\"task\":\"" + theTask + "\"}\nFINISHED {\"ok\":true,\"errors\":[],\"nodes\":[],\"task\":\"" + theTask + "\"}")
	f.Add("ERROR \"x\"\nERROR {\"message\":\"x\"}\nOK")
	f.Add("OK\nFAILED {\"kind\":\"error\",\"message\":\"\",\"task\":\"" + theTask + "\"}")
	f.Fuzz(func(t *testing.T, text string) {
		l := newLedger(func(string) bool { return false })
		ended := map[*sent]int{}
		all := []*sent{{plan: plan{name: "echo"}}, {plan: plan{name: "use_theories", async: true}, task: "a"}, {plan: plan{name: "session_start", async: true}, task: "b"}, {plan: plan{name: "purge_theories"}}}
		for _, s := range all {
			l.sent(s)
		}
		table := NewTable(Place{"/srv/tenants/alice", "/shares/aa"})
		for line := range strings.SplitSeq(text, "\n") {
			what, err := l.read(protocol.Parse([]byte(line)), protocol.Bounds{})
			if err == nil {
				protocol.Encode(nil, table.Outside(what.value))
				if what.to != nil && !what.note && !what.begun {
					ended[what.to]++
				}
			}
			open := l.open()
			for _, s := range all {
				n := ended[s]
				for _, o := range open {
					if o == s {
						n++
					}
				}
				if n != 1 {
					t.Fatalf("after %q, %s is open or ended %d times", line, s.name, n)
				}
			}
		}
	})
}
