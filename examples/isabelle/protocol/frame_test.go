package protocol_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	. "cofferdam/examples/isabelle/protocol"
)

const task, session = "3f2b8c1e-7a60-4a55-9d1b-0c4c2f9e1a77", "b6a1f0de-1f4c-4c2e-8a76-51c1d2f0aa10"

// TestGolden are frames as the server writes them, byte for byte.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		message Message
		want    string
	}{
		{Version("29f2b8ff84f3", "Isabelle2025"), `OK {"isabelle_id":"29f2b8ff84f3","isabelle_name":"Isabelle2025"}` + "\n"},
		{Started(task), `OK {"task":"3f2b8c1e-7a60-4a55-9d1b-0c4c2f9e1a77"}` + "\n"},
		{Reply(OK, Commands), "118\n" + `OK ["cancel","echo","help","purge_theories","session_build","session_start","session_stop","shutdown","use_theories"]` + "\n"},
		{BadCommand("frob"), `ERROR "Bad command 'frob'"` + "\n"},
		{TaskNote(task, "writeln", "Starting session HOL ...", Field{Name: "verbose", Value: "false"}),
			"125\n" + `NOTE {"kind":"writeln","message":"Starting session HOL ...","verbose":"false","task":"3f2b8c1e-7a60-4a55-9d1b-0c4c2f9e1a77"}` + "\n"},
		{FailedTask(task, NoSession(session)),
			"132\n" + `FAILED {"kind":"error","message":"No session 'b6a1f0de-1f4c-4c2e-8a76-51c1d2f0aa10'","task":"3f2b8c1e-7a60-4a55-9d1b-0c4c2f9e1a77"}` + "\n"},
		{Hint(), `NOTE "Command 'help' provides list of commands"` + "\n"},
		{Malformed(Message{"echo", "{"}), `ERROR {"kind":"error","message":"Malformed argument for command 'echo'","argument":"{"}` + "\n"},
		{BadArgument(Message{"cancel", "{}"}), `ERROR {"kind":"error","message":"Bad argument for command 'cancel'","argument":"{}"}` + "\n"},
		{Reply(OK, Unit{}), "OK\n"},
		{Reply(OK, nil), "OK null\n"},
		{FinishedTask(task, Field{"ok", true}, Field{"return_code", 0}), `FINISHED {"ok":true,"return_code":0,"task":"` + task + `"}` + "\n"},
	} {
		if got := string(tt.message.Frame()); got != tt.want {
			t.Errorf("the frame of %+v is\n%q, want\n%q", tt.message, got, tt.want)
		}
	}
}

func TestRead(t *testing.T) {
	limits := Limits{Digits: 10, Line: 200, Block: 1000}
	long := strings.Repeat("x", 200)
	for _, tt := range []struct {
		name, in string
		want     []string
		err      error // what comes after them; nil is io.EOF
	}{
		{"nothing", "", nil, nil},
		{"lines", "help\necho 1\n", []string{"help", "echo 1"}, nil},
		{"an empty line", "\n\n", []string{"", ""}, nil},
		{"CRLF", "help\r\n\r\n", []string{"help", ""}, nil},
		{"one CR is taken off", "help\r\r\n", []string{"help\r"}, nil},
		{"an unfinished line", "help", []string{"help"}, nil},
		{"an unfinished line with CR", "help\r", []string{"help"}, nil},
		{"a block", "4\nhelp", []string{"help"}, nil},
		{"a block with its LF", "5\nhelp\n", []string{"help"}, nil},
		{"a block with its CRLF", "6\nhelp\r\n", []string{"help"}, nil},
		{"a block that ends in CR", "5\nhelp\r", []string{"help\r"}, nil},
		{"one LF is taken off", "6\nhelp\n\n", []string{"help\n"}, nil},
		{"a block of digits", "2\n17help\n", []string{"17", "help"}, nil},
		{"a block of lines", "9\necho\n\n\"\"\n", []string{"echo\n\n\"\""}, nil},
		{"the header has CRLF", "4\r\nhelp", []string{"help"}, nil},
		{"0", "0\nhelp\n", []string{"", "help"}, nil},
		{"zeros before", "0004\nhelp", []string{"help"}, nil},
		{"an unfinished header", "4", nil, nil},
		{"the end comes first", "5\nhelp", nil, nil},
		{"no length: +5", "+5\nhelp\n", []string{"+5", "help"}, nil},
		{"no length: -0", "-0\nhelp\n", []string{"-0", "help"}, nil},
		{"no length: a blank before", " 5\nhelp\n", []string{" 5", "help"}, nil},
		{"no length: a blank after", "5 \nhelp\n", []string{"5 ", "help"}, nil},
		{"no length: digits of another script", "٣\nhelp\n", []string{"٣", "help"}, nil},
		{"no length: beyond all integers", "9223372036854775808\nhelp\n", []string{"9223372036854775808", "help"}, nil},
		{"too many digits", "00000000004\nhelp\n", nil, ErrTooLarge},
		{"the largest integer", "9223372036854775807\nhelp\n", nil, ErrTooLarge},
		{"the largest line", long + "\n", []string{long}, nil},
		{"a larger line", long + "xx\n", nil, ErrTooLarge},
		{"an endless line", "help\n" + strings.Repeat("x", 100000), []string{"help"}, ErrTooLarge},
		{"the largest block", "1000\n" + strings.Repeat(" ", 1000), []string{strings.Repeat(" ", 1000)}, nil},
		{"a larger block", "1001\n" + strings.Repeat(" ", 1001), nil, ErrTooLarge},
	} {
		if tt.err == nil {
			tt.err = io.EOF
		}
		for how, in := range map[string]io.Reader{"": strings.NewReader(tt.in), ", byte by byte": iotest.OneByteReader(strings.NewReader(tt.in))} {
			t.Run(tt.name+how, func(t *testing.T) {
				got, err := all(NewReader(in, limits))
				if strings.Join(got, "|") != strings.Join(tt.want, "|") || len(got) != len(tt.want) || !errors.Is(err, tt.err) {
					t.Errorf("Message of %.40q: %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
				}
			})
		}
	}
}

func all(r *Reader) (messages []string, err error) {
	for {
		m, err := r.Message()
		if err != nil {
			return messages, err
		}
		messages = append(messages, string(m))
	}
}

// TestFirstLine: a password of digits is a password, and what was sent with it
// is not lost.
func TestFirstLine(t *testing.T) {
	r := NewReader(strings.NewReader("12\r\nhelp\n"), Limits{})
	if line, err := r.Line(); string(line) != "12" || err != nil {
		t.Errorf("Line: %q, %v", line, err)
	}
	if m, err := r.Message(); string(m) != "help" || err != nil {
		t.Errorf("Message: %q, %v", m, err)
	}
}

func TestFrame(t *testing.T) {
	for _, tt := range []struct {
		name, message, want string
		err                 error
	}{
		{"empty", "", "\n", nil},
		{"100 bytes", strings.Repeat("x", 100), strings.Repeat("x", 100) + "\n", nil},
		{"101 bytes", strings.Repeat("x", 101), "102\n" + strings.Repeat("x", 101) + "\n", nil},
		{"bytes, not characters", strings.Repeat("∀", 34), "103\n" + strings.Repeat("∀", 34) + "\n", nil},
		{"lines", "a\nb", "4\na\nb\n", nil},
		{"digits", "17", "", ErrFrame},
		{"a line's end", "a\n", "", ErrFrame},
		{"half a line's end", "a\r", "", ErrFrame},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Frame(nil, []byte(tt.message)); string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Frame: %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// TestBlockIsBelievedAsItArrives: a header of 64 MiB costs nothing by itself.
func TestBlockIsBelievedAsItArrives(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if m, err := NewReader(strings.NewReader("67108864\nhelp"), Limits{}).Message(); err != io.EOF {
			t.Fatalf("Message: %q, %v; want EOF", m, err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("100 headers without a block took %d bytes", n)
	}
}

// FuzzFrame: what is written is read again, and nothing else; and reading what
// comes does not panic, nor keep more than came.
func FuzzFrame(f *testing.F) {
	for _, s := range []string{"", "help", "17", "a\nb", "a\r", "5\nhelp\n", strings.Repeat("x", 101), "0\n", "99999999999999999999\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := all(NewReader(bytes.NewReader(b), Limits{Block: 1 << 16}))
		n := 0
		for _, m := range got {
			n += len(m)
		}
		if n > len(b) {
			t.Errorf("%d bytes of messages in %d", n, len(b))
		}
		frame, err := Frame(nil, b)
		if err != nil {
			return
		}
		r := NewReader(bytes.NewReader(append(frame, "next\n"...)), Limits{})
		if m, err := r.Message(); err != nil || !bytes.Equal(m, b) {
			t.Fatalf("Frame(%q) is read as %q, %v", b, m, err)
		}
		if m, err := r.Message(); err != nil || string(m) != "next" {
			t.Fatalf("after Frame(%q) comes %q, %v", b, m, err)
		}
	})
}
