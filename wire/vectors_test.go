package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"cofferdam/label"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew from the tables in this file")

const vectorsFile = "testdata/vectors.json"

// vectors is the file that both SDKs are held to. Texts are as they are, bytes
// are in hex.
type vectors struct {
	Frames     []frameVector    `json:"frames"`
	BadFrames  []badVector      `json:"bad_frames"` // at least a header, which is refused
	Identities []identityVector `json:"identities"`
	Spawns     []spawnVector    `json:"spawns"`
	Exits      []exitVector     `json:"exits"`
	Mounts     []mountVector    `json:"mounts"`
	Ends       []endVector      `json:"ends"`
	Asks       []askVector      `json:"asks"`
	Tolds      []toldVector     `json:"tolds"`
	Turns      []turnsVector    `json:"turns"`
	BadLists   []badVector      `json:"bad_lists"`
	Names      []nameVector     `json:"names"`
	Ops        []opVector       `json:"ops"`
	Codes      []codeVector     `json:"codes"`

	Traceparents []traceVector `json:"traceparents"`
}

type frameVector struct {
	About     string `json:"about"`
	Hex       string `json:"hex"`
	Op        Op     `json:"op"`
	Code      Code   `json:"code"`
	ID        uint64 `json:"id"`
	TimeoutMS int64  `json:"timeout_ms"`
	Flags     uint16 `json:"flags"`
	Call      uint64 `json:"call"`
	Name      string `json:"name"`
	Caller    string `json:"caller"`
	Body      string `json:"body"`
}

type badVector struct {
	About string `json:"about"`
	Kind  string `json:"kind,omitempty"`
	Hex   string `json:"hex"`
}

type identityVector struct {
	Hex       string `json:"hex"`
	Service   string `json:"service"`
	Instance  string `json:"instance"`
	Principal string `json:"principal"`
	Bound     string `json:"bound"`
}

type spawnVector struct {
	Hex       string      `json:"hex"`
	Args      []string    `json:"args"`
	Env       []string    `json:"env"`
	Files     [][2]string `json:"files"` // path, hex of content
	Stdin     string      `json:"stdin"`
	WallMS    int64       `json:"wall_ms"`
	Principal string      `json:"principal"`
	Bound     string      `json:"bound"`
	Label     *string     `json:"label"` // texts of labels, null for none
	Clearance *string     `json:"clearance"`
	Result    *string     `json:"result"`
	Gives     []string    `json:"gives"` // texts of formulas
	Handles   []uint64    `json:"handles"`
	Out       string      `json:"out"`
	In        string      `json:"in"`
}

type exitVector struct {
	Hex    string `json:"hex"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Cause  string `json:"cause"`
	Code   int    `json:"code"`
	Limit  string `json:"limit"`
	Detail string `json:"detail"`
	WallUS int64  `json:"wall_us"`
	CPUUS  int64  `json:"cpu_us"`
	Memory int64  `json:"memory"`
}

type endVector struct {
	Hex       string `json:"hex"`
	Service   string `json:"service"`
	Principal string `json:"principal"`
}

type mountVector struct {
	Hex       string `json:"hex"`
	Dir       string `json:"dir"`
	Into      string `json:"into"`
	Principal string `json:"principal"`
	Client    string `json:"client"`
}

// askVector has the texts of labels and formulas, those that say nothing too.
type askVector struct {
	Op      Op       `json:"op"`
	Hex     string   `json:"hex"`
	Name    string   `json:"name"`
	Handles []uint64 `json:"handles"`
	Label   string   `json:"label"`
	Give    string   `json:"give"`
	Out     string   `json:"out"`
	In      string   `json:"in"`
	Shown   string   `json:"shown"`
	Mode    Mode     `json:"mode"`
	Data    string   `json:"data"`
	Trace   string   `json:"trace"` // a traceparent, "" for none
}

type toldVector struct {
	Hex       string   `json:"hex"`
	Label     string   `json:"label"`
	Clearance string   `json:"clearance"`
	Owns      string   `json:"owns"`
	Shown     string   `json:"shown"`
	Handles   []uint64 `json:"handles"`
	Caller    string   `json:"caller"` // fields of an identity, "" for none
	Data      string   `json:"data"`
	Trace     string   `json:"trace"`
}

type turnsVector struct {
	Hex   string       `json:"hex"`
	Turns []turnVector `json:"turns"`
}

type turnVector struct {
	Name      string `json:"name"`
	Principal string `json:"principal"`
	Place     int    `json:"place"`
	Of        int    `json:"of"`
}

type opVector struct {
	Op     Op     `json:"op"`
	Name   string `json:"name"`
	Named  bool   `json:"named"`
	Timed  bool   `json:"timed"`
	Body   bool   `json:"body"`
	Caller bool   `json:"caller"`
	Coded  bool   `json:"coded"`
	Opened bool   `json:"opened"`
}

type codeVector struct {
	Code Code   `json:"code"`
	Word string `json:"word"`
}

type traceVector struct {
	Text  string `json:"text"`
	Trace string `json:"trace"` // as it is written again, "" if it is none
}

type nameVector struct {
	Text  string `json:"text"`
	Valid bool   `json:"valid"` // as service.method
}

// What Append makes of values, and back.

var goodFrames = []struct {
	about string
	frame Frame
}{
	{"a reply", Frame{Header: Header{Op: OpReply, ID: 1}, Body: []byte("seven")}},
	{"a refusal", Frame{Header: Header{Op: OpReply, Code: Denied, ID: 0xfedcba9876543210}}},
	{"the last code", Frame{Header: Header{Op: OpReply, Code: Interrupted, ID: 3}}},
	{"a failure", Frame{Header: Header{Op: OpReply, Code: Failed, ID: 3}, Body: []byte("kein Benutzer „bob“")}},
	{"hello", Frame{Header: Header{Op: OpHello, ID: 1}}},
	{"serve", Frame{Header: Header{Op: OpServe, ID: 2}, Body: AppendField(AppendField(nil, KeyMethod, "echo"), KeyMethod, "who")}},
	{"a call to the monitor", Frame{Header: Header{Op: OpCall, ID: 2, Timeout: 1500 * time.Millisecond}, NameBytes: []byte("bank.balance"), Body: []byte(`{"username":"alice"}`)}},
	{"a call to a server", Frame{Header: Header{Op: OpCall, ID: 9, Timeout: MaxTimeout, Call: 1 << 40}, NameBytes: []byte("balance"), CallerBytes: goodIdentities[1].Append(nil), Body: []byte{0, 255}}},
	{"the longest name", Frame{Header: Header{Op: OpCall, ID: 1}, NameBytes: bytes.Repeat([]byte("n"), MaxName)}},
	{"cancel", Frame{Header: Header{Op: OpCancel, ID: 2}}},
	{"spawn", Frame{Header: Header{Op: OpSpawn, ID: 4}, NameBytes: []byte("sandbox"), Body: goodSpawns[1].Append(nil)}},
	{"turns", Frame{Header: Header{Op: OpTurns, ID: 15}}},
	{"mount", Frame{Header: Header{Op: OpMount, ID: 5}, Body: goodMounts[1].Append(nil)}},
	{"end", Frame{Header: Header{Op: OpEnd, ID: 16}, Body: goodEnds[0].Append(nil)}},
	{"unmount", Frame{Header: Header{Op: OpUnmount, ID: 6}, Body: goodMounts[0].Append(nil)}},
	{"labels", Frame{Header: Header{Op: OpLabels, ID: 7}}},
	{"a receive with a timeout", Frame{Header: Header{Op: OpRecv, ID: 8, Timeout: time.Second}, Body: goodAsks[0].ask.Append(nil, goodAsks[0].op)}},
	{"a new seal", Frame{Header: Header{Op: OpNewSeal, ID: 9}}},
	{"a call with fields", Frame{Header: Header{Op: OpCall, ID: 10, Flags: FlagFields}, NameBytes: []byte("bank.release"), Body: append(AppendFields(nil, goodAsks[1].ask.Append(nil, OpCall)), "request"...)}},
	{"a dial", Frame{Header: Header{Op: OpDial, ID: 11, Timeout: time.Second}, NameBytes: []byte("bank:8081"), Body: (&Dial{Principal: "alice", Route: 1}).Append(nil)}},
	{"a reply with a socket", Frame{Header: Header{Op: OpReply, ID: 11, Flags: FlagSocket}}},
	{"the end of a connection without an answer", Frame{Header: Header{Op: OpCancel, ID: 11, Flags: FlagUnanswered}}},
	{"a reply with fields", Frame{Header: Header{Op: OpReply, ID: 10, Flags: FlagFields}, Body: append(AppendFields(nil, goodTolds[2].Append(nil)), "answer"...)}},
	{"a refusal by labels", Frame{Header: Header{Op: OpReply, ID: 11, Code: Label}, Body: []byte("label ⊑ object: no")}},
	{"withheld", Frame{Header: Header{Op: OpReply, ID: 12, Code: Withheld}}},
	{"empty", Frame{Header: Header{Op: OpReply, ID: 13, Code: Empty}}},
	{"a rate that is used up", Frame{Header: Header{Op: OpReply, ID: 14, Code: Limited, Timeout: 1500 * time.Millisecond}, Body: []byte("5/min burst 10")}},
	{"one that gives no time", Frame{Header: Header{Op: OpReply, ID: 15, Code: Limited}}},
}

// Each operation stands here with all that it takes, and some with less.
var goodAsks = []struct {
	op  Op
	ask Ask
}{
	{OpRecv, Ask{Name: "moves", Out: formula("bob"), In: formula("alice | bob"), Mode: ModeRaise | ModeForce}},
	{OpCall, Ask{Out: formula("alice"), In: formula("bob"), Shown: formula("alice & (bob | carol)"), Handles: []uint64{1, 1 << 40}}},
	{OpCall, Ask{Trace: traced}},
	{OpCall, Ask{Out: formula("alice"), Handles: []uint64{1}, Trace: Trace{ID: traced.ID, Span: traced.Span}}},
	{OpReply, Ask{Handles: []uint64{7}}},
	{OpLabels, Ask{}},
	{OpLabels, Ask{Handles: []uint64{7}}},
	{OpRaise, Ask{Label: label.Public}},
	{OpRaise, Ask{Label: labelOf("alice & (bob | carol) %% True"), Mode: ModeForce}},
	{OpLower, Ask{Label: labelOf("True %% alice"), Out: formula("alice"), In: formula("alice"), Mode: ModeForce}},
	{OpClearance, Ask{Label: label.Top, Out: formula("alice"), In: formula("bob")}},
	{OpSeal, Ask{Label: labelOf(`"Łukasz" & "\SO\&H" %% "a b"`), Out: formula("alice"), In: formula("bob"), Data: []byte("data\x00")}},
	{OpSeal, Ask{Label: label.Bottom}},
	{OpUnseal, Ask{Handles: []uint64{7}, Out: formula("alice"), In: formula("bob"), Mode: ModeRaise}},
	{OpRelabel, Ask{Handles: []uint64{7}, Label: labelOf("alice %% bob"), Out: formula("alice"), In: formula("bob")}},
	{OpTaint, Ask{Handles: []uint64{7}, Label: labelOf("alice %% bob"), Out: formula("alice"), In: formula("bob")}},
	{OpDrop, Ask{Handles: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1<<64 - 1}}},
	{OpMailbox, Ask{Label: labelOf("alice %% True"), Out: formula("alice"), In: formula("bob")}},
	{OpPost, Ask{Name: "moves", Handles: []uint64{8}, Out: formula("alice"), In: formula("bob"), Data: []byte("rock")}},
	{OpPost, Ask{Handles: []uint64{7, 8}, Data: []byte("rock")}},
	{OpPut, Ask{Name: "moves", Handles: []uint64{8}, Out: formula("alice"), In: formula("bob"), Data: []byte("rock")}},
	{OpTake, Ask{Handles: []uint64{7}, Out: formula("alice"), In: formula("bob"), Mode: ModeRaise}},
	{OpWait, Ask{Handles: []uint64{7}, Out: formula("alice"), In: formula("bob"), Mode: ModeRaise}},
	{OpKill, Ask{Handles: []uint64{7}, Out: formula("alice"), In: formula("bob")}},
	{OpDelegate, Ask{Privilege: formula("alice | bob")}},
	{OpDelegate, Ask{}},
	{OpRevoke, Ask{Handles: []uint64{7}}},
	{OpEnclose, Ask{Handles: []uint64{7}, Label: labelOf("alice %% True"), Out: formula("alice"), In: formula("bob"), Data: []byte("data")}},
	{OpDisclose, Ask{Handles: []uint64{7, 8}, Out: formula("alice"), In: formula("bob"), Mode: ModeRaise}},
	{OpAuthenticate, Ask{Handles: []uint64{7, 8}}},
}

var goodTolds = []Told{
	{},
	{Label: labelOf("alice %% bob"), Clearance: label.Top, Owns: label.False, Shown: formula("alice | bob"), Handles: []uint64{1, 2}, Caller: &goodIdentities[1], Data: []byte("d")},
	{Label: labelOf(`"Łukasz" & "\SO\&H\195\129\&1" %% "a b" | "%%"`), Handles: []uint64{1<<64 - 1}},
	{Handles: make([]uint64, MaxHandles), Data: []byte{0}},
	{Trace: traced},
	{Label: labelOf("alice %% bob"), Handles: []uint64{1}, Trace: Trace{ID: traced.ID, Span: traced.Span}},
}

// texts are traceparents, and what only looks like one.
var texts = []string{
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
	"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
	"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
	"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
	"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
	"00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
	"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
	"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
	"00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
	"-----------------------------------------------------------",
	"",
}

// traced is the example of W3C Trace Context.
var traced = Trace{
	ID:    [16]byte{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36},
	Span:  [8]byte{0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7},
	Flags: Sampled,
}

// labelOf and formula are of texts that are part of these tables.
func labelOf(text string) label.Label    { return label.MustParse(text) }
func formula(text string) label.Formula  { return label.MustParseFormula(text) }
func pointer(l label.Label) *label.Label { return &l }
func textOf(l *label.Label) (text *string) {
	if l != nil {
		s := l.String()
		text = &s
	}
	return text
}

var goodIdentities = []Identity{
	{Service: "bank"},
	{Service: "front", Instance: "front-1", Principal: "älice", Bound: []byte{0, 1, 254}},
	{Service: strings.Repeat("s", MaxService), Instance: strings.Repeat("i", MaxInstance), Principal: strings.Repeat("p", MaxPrincipal), Bound: bytes.Repeat([]byte{7}, MaxBound)},
}

var goodSpawns = []Spawn{
	{},
	{
		Args:      []string{"-v", "", "two words", "ü"},
		Env:       []string{"A=1", "B=", "C=x=y"},
		Files:     []File{{"/run/profile.py", []byte("print(1)\n")}, {"/run/empty", []byte{}}, {"/a=/..b/.c", []byte{0}}},
		Stdin:     []byte("in\x00put"),
		Wall:      5 * time.Second,
		Principal: "alice",
		Bound:     []byte("token"),
	},
	{Wall: MaxTimeout},
	{Wall: time.Millisecond},
	{
		Args: []string{"-v"}, Bound: []byte("token"),
		Label: pointer(label.Public), Clearance: pointer(labelOf("alice & bob %% True")), Result: pointer(label.Top),
		Gives: []label.Formula{formula("alice"), label.True, formula("bob | carol")}, Handles: []uint64{3, 1 << 63},
		Out: formula("alice"), In: formula("bob"),
	},
}

var goodExits = []Exit{
	{Cause: "exit"},
	{Cause: "wall", Code: 137, Limit: "5s", Detail: "wall limit 5s", Stdout: []byte("a\xffb"), Stderr: []byte("late"), Wall: 5001 * time.Millisecond, CPU: 4321 * time.Microsecond, Memory: 64 << 20},
}

var goodEnds = []End{
	{Service: "server", Principal: "alice"},
	{Service: strings.Repeat("s", MaxService), Principal: strings.Repeat("p", MaxPrincipal)},
}

var goodMounts = []Mount{
	{Dir: "/srv"},
	{Dir: "/srv/thé ories/a=b", Into: "prover", Principal: "alice", Client: "tenant 7/älice"},
	{Dir: "/" + strings.Repeat("d", MaxPath-1), Into: strings.Repeat("s", MaxService), Principal: strings.Repeat("p", MaxPrincipal), Client: strings.Repeat("c", MaxClient)},
}

// What breaks the format: a header written by hand.

func header(change func(h *Header)) []byte {
	h := Header{Op: OpCall, ID: 1, Name: 3, Size: 5}
	change(&h)
	b := make([]byte, HeaderSize)
	h.Put(b)
	return b
}

var badFrames = []struct {
	about string
	bytes []byte
}{
	{"operation 0", header(func(h *Header) { h.Op = 0 })},
	{"operation 31", header(func(h *Header) { h.Op = 31 })},
	{"operation 255", header(func(h *Header) { h.Op = 255 })},
	{"a request with a code", header(func(h *Header) { h.Code = Denied })},
	{"code 15", header(func(h *Header) { *h = Header{Op: OpReply, Code: 15} })},
	{"reserved flags", header(func(h *Header) { h.Flags = 2 })},
	{"a dial with a socket", header(func(h *Header) { h.Op, h.Name, h.Size, h.Flags = OpDial, 6, 6, FlagSocket })},
	{"a cancel with a socket", header(func(h *Header) { h.Op, h.Flags = OpCancel, FlagSocket })},
	{"a reply without an answer", header(func(h *Header) { h.Op, h.Flags = OpReply, FlagUnanswered })},
	{"flags of another operation", header(func(h *Header) { h.Op, h.Flags = OpSpawn, FlagFields })},
	{"reserved flags, high byte", header(func(h *Header) { h.Flags = 0x8000 })},
	{"a call without a name", header(func(h *Header) { h.Name = 0 })},
	{"a spawn without a name", header(func(h *Header) { h.Op, h.Name = OpSpawn, 0 })},
	{"a name too long", header(func(h *Header) { h.Name, h.Size = MaxName+1, MaxName+1 })},
	{"a name longer than the frame", header(func(h *Header) { h.Size = 2 })},
	{"name and caller longer than the frame", header(func(h *Header) { h.Caller = 3 })},
	{"a caller too long", header(func(h *Header) { h.Caller, h.Size = MaxCaller+1, 2*MaxCaller })},
	{"a body too long", header(func(h *Header) { h.Size = 3 + MaxBody + 1 })},
	{"a body of 4 GiB", header(func(h *Header) { h.Size = 1<<32 - 1 })},
	{"a reply with a name", header(func(h *Header) { h.Op = OpReply })},
	{"a reply with a timeout", header(func(h *Header) { *h = Header{Op: OpReply, Timeout: time.Second} })},
	{"a busy reply with a timeout", header(func(h *Header) { *h = Header{Op: OpReply, Code: Busy, Timeout: time.Second} })},
	{"a reply with a caller", header(func(h *Header) { *h = Header{Op: OpReply, Caller: 1, Size: 1} })},
	{"a reply with a call number", header(func(h *Header) { *h = Header{Op: OpReply, Call: 1} })},
	{"a hello with a body", header(func(h *Header) { *h = Header{Op: OpHello, Size: 1} })},
	{"a cancel with a body", header(func(h *Header) { *h = Header{Op: OpCancel, Size: 1} })},
	{"a spawn with a caller", header(func(h *Header) { h.Op, h.Caller = OpSpawn, 1 })},
	{"a spawn with a call number", header(func(h *Header) { h.Op, h.Call = OpSpawn, 1 })},
	{"an end with a name", header(func(h *Header) { h.Op = OpEnd })},
	{"a mount with a name", header(func(h *Header) { h.Op = OpMount })},
	{"a mount with a timeout", header(func(h *Header) { *h = Header{Op: OpMount, Timeout: time.Second} })},
	{"an unmount with a caller", header(func(h *Header) { *h = Header{Op: OpUnmount, Caller: 1, Size: 1} })},
	{"text", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
}

func fieldsOf(fields ...any) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		switch v := fields[i+1].(type) {
		case string:
			b = AppendField(b, uint8(fields[i].(int)), v)
		case int:
			b = AppendUint(b, uint8(fields[i].(int)), uint64(v))
		}
	}
	return b
}

var goodTurns = [][]Turn{
	nil,
	{{Name: "view", Principal: "älice", Place: 1, Of: 1}},
	{{Name: "server:4711", Principal: "bob", Place: 3, Of: 512}, {Name: "script.run", Place: 1<<31 - 1, Of: 1<<31 - 1}},
}

// turnOf is the fields of one turn.
func turnOf(name string, place, of uint64) []byte {
	return AppendUint(fieldsOf(KeyName, name), KeyPlace, place, of)
}

var badLists = []struct {
	about, kind string
	bytes       []byte
}{
	{"nothing in an end", "end", nil},
	{"a service alone in an end", "end", fieldsOf(KeyService, "server")},
	{"a principal alone in an end", "end", fieldsOf(KeyPrincipal, "alice")},
	{"an empty principal in an end", "end", append(fieldsOf(KeyService, "server"), fieldsOf(KeyPrincipal, "")...)},
	{"a principal twice in an end", "end", append(fieldsOf(KeyService, "server"), append(fieldsOf(KeyPrincipal, "a"), fieldsOf(KeyPrincipal, "b")...)...)},
	{"no service in an end", "end", append(fieldsOf(KeyService, "server.call"), fieldsOf(KeyPrincipal, "a")...)},
	{"a directory in an end", "end", append(fieldsOf(KeyService, "server"), fieldsOf(KeyDir, "/a")...)},
	{"a place of nothing", "turns", AppendUint(nil, KeyPlace, 1, 1)},
	{"a name of nothing", "turns", turnOf("", 1, 1)},
	{"a name twice", "turns", append(fieldsOf(KeyName, "a"), turnOf("a", 1, 1)...)},
	{"no place", "turns", append(turnOf("a", 1, 1), fieldsOf(KeyName, "b")...)},
	{"a principal and nothing else", "turns", fieldsOf(KeyPrincipal, "a")},
	{"place 0", "turns", turnOf("a", 0, 1)},
	{"place 2 of 1", "turns", turnOf("a", 2, 1)},
	{"place 1 of very many", "turns", turnOf("a", 1, 1<<31)},
	{"a place of one number", "turns", AppendUint(fieldsOf(KeyName, "a"), KeyPlace, 1)},
	{"a name too long", "turns", turnOf(strings.Repeat("a", MaxName+1), 1, 1)},
	{"a zero byte in a name", "turns", turnOf("a\x00", 1, 1)},
	{"a turn with a label", "turns", append(fieldsOf(KeyLabel, "a %% True"), turnOf("a", 1, 1)...)},
	{"too many turns", "turns", bytes.Repeat(turnOf("a", 1, 1), MaxTurns+1)},
	{"no service", "identity", nil},
	{"an empty service", "identity", fieldsOf(KeyService, "")},
	{"service twice", "identity", fieldsOf(KeyService, "a", KeyService, "a")},
	{"bound twice, once empty", "identity", fieldsOf(KeyService, "a", KeyBound, "", KeyBound, "b")},
	{"a key of another list", "identity", fieldsOf(KeyService, "a", KeyArg, "b")},
	{"key 0", "identity", fieldsOf(KeyService, "a", 0, "")},
	{"key 255", "identity", fieldsOf(KeyService, "a", 255, "")},
	{"not UTF-8", "identity", fieldsOf(KeyService, "a\xff")},
	{"a surrogate", "identity", fieldsOf(KeyService, "\xed\xa0\x80")},
	{"a zero byte", "identity", fieldsOf(KeyService, "a", KeyPrincipal, "b\x00c")},
	{"service too long", "identity", fieldsOf(KeyService, strings.Repeat("a", MaxService+1))},
	{"principal too long", "identity", fieldsOf(KeyService, "a", KeyPrincipal, strings.Repeat("a", MaxPrincipal+1))},
	{"bound too long", "identity", fieldsOf(KeyService, "a", KeyBound, strings.Repeat("a", MaxBound+1))},
	{"cut in a key", "identity", fieldsOf(KeyService, "a", KeyBound, "")[:7]},
	{"cut in a length", "identity", fieldsOf(KeyService, "a", KeyBound, "")[:9]},
	{"cut in a value", "identity", fieldsOf(KeyService, "abc")[:7]},
	{"a length of 4 GiB", "identity", []byte{KeyService, 255, 255, 255, 255, 'a'}},
	{"too many fields", "spawn", bytes.Repeat(fieldsOf(KeyArg, ""), MaxFields+1)},
	{"a path without content", "spawn", fieldsOf(KeyFile, "/a")},
	{"a path and something else", "spawn", fieldsOf(KeyFile, "/a", KeyArg, "b")},
	{"two paths", "spawn", fieldsOf(KeyFile, "/a", KeyFile, "/b", KeyData, "")},
	{"content without a path", "spawn", fieldsOf(KeyData, "")},
	{"a path twice", "spawn", fieldsOf(KeyFile, "/a", KeyData, "", KeyFile, "/a", KeyData, "")},
	{"a path that is not absolute", "spawn", fieldsOf(KeyFile, "a", KeyData, "")},
	{"an empty path", "spawn", fieldsOf(KeyFile, "", KeyData, "")},
	{"the root", "spawn", fieldsOf(KeyFile, "/", KeyData, "")},
	{"a path with ..", "spawn", fieldsOf(KeyFile, "/a/../b", KeyData, "")},
	{"a path with .", "spawn", fieldsOf(KeyFile, "/./b", KeyData, "")},
	{"a path with //", "spawn", fieldsOf(KeyFile, "//b", KeyData, "")},
	{"a path that ends in /", "spawn", fieldsOf(KeyFile, "/b/", KeyData, "")},
	{"a path with a zero byte", "spawn", fieldsOf(KeyFile, "/b\x00", KeyData, "")},
	{"a path too long", "spawn", fieldsOf(KeyFile, "/"+strings.Repeat("a", MaxPath), KeyData, "")},
	{"an argument with a zero byte", "spawn", fieldsOf(KeyArg, "a\x00")},
	{"a variable without =", "spawn", fieldsOf(KeyEnv, "A")},
	{"a variable without a name", "spawn", fieldsOf(KeyEnv, "=1")},
	{"a variable twice", "spawn", fieldsOf(KeyEnv, "A=1", KeyEnv, "A=2")},
	{"stdin twice", "spawn", fieldsOf(KeyStdin, "a", KeyStdin, "b")},
	{"wall 0", "spawn", fieldsOf(KeyWall, 0)},
	{"wall too long", "spawn", fieldsOf(KeyWall, 1<<32)},
	{"wall of 4 bytes", "spawn", fieldsOf(KeyWall, "1234")},
	{"an unknown key", "spawn", fieldsOf(int(keys), "")},
	{"a principal that is not UTF-8", "spawn", fieldsOf(KeyPrincipal, "\xff")},
	{"no cause", "exit", nil},
	{"cause twice", "exit", fieldsOf(KeyCause, "exit", KeyCause, "exit")},
	{"an unknown key", "exit", fieldsOf(KeyCause, "exit", int(keys), "")},
	{"a code too large", "exit", fieldsOf(KeyCause, "exit", KeyCode, 1<<31)},
	{"a code of 1 byte", "exit", fieldsOf(KeyCause, "exit", KeyCode, "1")},
	{"usage of 8 bytes", "exit", fieldsOf(KeyCause, "exit", KeyUsage, 1)},
	{"usage beyond 63 bits", "exit", append(fieldsOf(KeyCause, "exit"), AppendUint(nil, KeyUsage, 0, 0, 1<<63)...)},
	{"wall time beyond 63 bits of ns", "exit", append(fieldsOf(KeyCause, "exit"), AppendUint(nil, KeyUsage, 1<<60, 0, 0)...)},
	{"no directory", "mount", nil},
	{"an empty directory", "mount", fieldsOf(KeyDir, "")},
	{"the root", "mount", fieldsOf(KeyDir, "/")},
	{"a directory twice", "mount", fieldsOf(KeyDir, "/a", KeyDir, "/a")},
	{"a directory with ..", "mount", fieldsOf(KeyDir, "/a/../b")},
	{"a relative directory", "mount", fieldsOf(KeyDir, "a")},
	{"a directory with a zero byte", "mount", fieldsOf(KeyDir, "/a\x00")},
	{"a directory too long", "mount", fieldsOf(KeyDir, "/"+strings.Repeat("a", MaxPath))},
	{"an empty service", "mount", fieldsOf(KeyDir, "/a", KeyService, "")},
	{"a service that is no word", "mount", fieldsOf(KeyDir, "/a", KeyService, "a.b")},
	{"a service too long", "mount", fieldsOf(KeyDir, "/a", KeyService, strings.Repeat("a", MaxService+1))},
	{"a principal without a service", "mount", fieldsOf(KeyDir, "/a", KeyPrincipal, "p")},
	{"a client that is not UTF-8", "mount", fieldsOf(KeyDir, "/a", KeyClient, "\xff")},
	{"a client too long", "mount", fieldsOf(KeyDir, "/a", KeyClient, strings.Repeat("a", MaxClient+1))},
	{"a key of another list", "mount", fieldsOf(KeyDir, "/a", KeyFile, "/b")},
	{"an unknown key", "told", fieldsOf(int(keys), "")},
	{"a key of another list", "told", fieldsOf(KeyOut, "alice")},
	{"a label twice", "told", fieldsOf(KeyLabel, "a %% b", KeyLabel, "a %% b")},
	{"a label without %%", "told", fieldsOf(KeyLabel, "alice")},
	{"an empty label", "told", fieldsOf(KeyLabel, "")},
	{"a label that is not UTF-8", "told", fieldsOf(KeyLabel, "\"\xff\" %% True")},
	{"a label with a name that is not UTF-8", "told", fieldsOf(KeyLabel, `"\200" %% True`)},
	{"a label beyond bounds", "told", fieldsOf(KeyLabel, clauses(65)+" %% True")},
	{"a label with a wide clause", "told", fieldsOf(KeyLabel, strings.ReplaceAll(clauses(17), "&", "|")+" %% True")},
	{"a label with a long name", "told", fieldsOf(KeyLabel, strings.Repeat("n", 257)+" %% True")},
	{"a label that multiplies out beyond bounds", "told", fieldsOf(KeyLabel, "("+clauses(40)+") | ("+strings.ReplaceAll(clauses(40), "p", "q")+") %% True")},
	{"a label of deep parentheses", "told", fieldsOf(KeyLabel, strings.Repeat("(", 33)+"a"+strings.Repeat(")", 33)+" %% True")},
	{"a label very long", "told", fieldsOf(KeyLabel, strings.Repeat(" ", MaxLabel)+"a %% True")},
	{"a clearance that is none", "told", fieldsOf(KeyClearance, "a %% b %% c")},
	{"and with or", "told", fieldsOf(KeyOwns, "a & b | c")},
	{"a formula with %%", "told", fieldsOf(KeyOwns, "a %% b")},
	{"a formula that is cut", "told", fieldsOf(KeyShown, "a &")},
	{"a trace of 24 bytes", "told", fieldsOf(KeyTrace, strings.Repeat("t", 24))},
	{"a trace of 26 bytes", "told", fieldsOf(KeyTrace, strings.Repeat("t", 26))},
	{"a trace without a trace", "told", fieldsOf(KeyTrace, strings.Repeat("\x00", 16)+"spanspan\x01")},
	{"a trace without a span", "told", fieldsOf(KeyTrace, "tracetracetracet"+strings.Repeat("\x00", 8)+"\x01")},
	{"a trace with other flags", "told", fieldsOf(KeyTrace, "tracetracetracetspanspan\x02")},
	{"a trace twice", "told", fieldsOf(KeyTrace, "tracetracetracetspanspan\x01", KeyTrace, "tracetracetracetspanspan\x01")},
	{"a handle of 7 bytes", "told", fieldsOf(KeyHandle, "1234567")},
	{"too many handles", "told", bytes.Repeat(fieldsOf(KeyHandle, 1), MaxHandles+1)},
	{"a caller that is none", "told", fieldsOf(KeyCaller, "x")},
	{"a caller without a service", "told", fieldsOf(KeyCaller, "")},
	{"data twice", "told", fieldsOf(KeyData, "", KeyData, "")},
	{"too many privileges", "spawn", bytes.Repeat(fieldsOf(KeyGive, "a"), MaxGives+1)},
	{"too many handles", "spawn", bytes.Repeat(fieldsOf(KeyHandle, 1), MaxHandles+1)},
	{"a label that is none", "spawn", fieldsOf(KeyLabel, "alice")},
	{"result twice", "spawn", fieldsOf(KeyResult, "a %% b", KeyResult, "a %% b")},
	{"a detail too long", "exit", fieldsOf(KeyCause, "exit", KeyDetail, strings.Repeat("a", MaxDetail+1))},
}

var names = []nameVector{
	{"bank.balance", true},
	{"a.b", true},
	{"a-1_.b_2-", true},
	{"a." + strings.Repeat("b", MaxName-2), true},
	{"a." + strings.Repeat("b", MaxName-1), false},
	{"", false},
	{".", false},
	{"bank", false},
	{"bank.", false},
	{".balance", false},
	{"a.b.c", false},
	{"a..b", false},
	{"A.b", false},
	{"a.B", false},
	{"1.b", false},
	{"a.1", false},
	{"a.-b", false},
	{"a._b", false},
	{"a.b ", false},
	{"a.b\n", false},
	{"a.b\x00", false},
	{"ä.b", false},
	{"a.bé", false},
	{"a/b", false},
}

func build() vectors {
	var v vectors
	for _, g := range goodFrames {
		f := g.frame
		v.Frames = append(v.Frames, frameVector{
			g.about, hex.EncodeToString(AppendFrame(nil, &f)), f.Op, f.Code, f.ID, f.Timeout.Milliseconds(), f.Flags, f.Call,
			string(f.NameBytes), hex.EncodeToString(f.CallerBytes), hex.EncodeToString(f.Body),
		})
	}
	for _, b := range badFrames {
		v.BadFrames = append(v.BadFrames, badVector{About: b.about, Hex: hex.EncodeToString(b.bytes)})
	}
	for _, id := range goodIdentities {
		v.Identities = append(v.Identities, identityVector{hex.EncodeToString(id.Append(nil)), id.Service, id.Instance, id.Principal, hex.EncodeToString(id.Bound)})
	}
	for _, s := range goodSpawns {
		files := [][2]string{}
		for _, f := range s.Files {
			files = append(files, [2]string{f.Path, hex.EncodeToString(f.Data)})
		}
		gives := []string{}
		for _, g := range s.Gives {
			gives = append(gives, g.String())
		}
		v.Spawns = append(v.Spawns, spawnVector{
			hex.EncodeToString(s.Append(nil)), append([]string{}, s.Args...), append([]string{}, s.Env...), files,
			hex.EncodeToString(s.Stdin), s.Wall.Milliseconds(), s.Principal, hex.EncodeToString(s.Bound),
			textOf(s.Label), textOf(s.Clearance), textOf(s.Result), gives, append([]uint64{}, s.Handles...), s.Out.String(), s.In.String(),
		})
	}
	for _, e := range goodExits {
		v.Exits = append(v.Exits, exitVector{hex.EncodeToString(e.Append(nil)), hex.EncodeToString(e.Stdout), hex.EncodeToString(e.Stderr), e.Cause, e.Code, e.Limit, e.Detail, e.Wall.Microseconds(), e.CPU.Microseconds(), e.Memory})
	}
	for _, m := range goodMounts {
		v.Mounts = append(v.Mounts, mountVector{hex.EncodeToString(m.Append(nil)), m.Dir, m.Into, m.Principal, m.Client})
	}
	for _, e := range goodEnds {
		v.Ends = append(v.Ends, endVector{hex.EncodeToString(e.Append(nil)), e.Service, e.Principal})
	}
	for _, g := range goodAsks {
		a := g.ask
		v.Asks = append(v.Asks, askVector{
			g.op, hex.EncodeToString(a.Append(nil, g.op)), a.Name, append([]uint64{}, a.Handles...), a.Label.String(), a.Privilege.String(),
			a.Out.String(), a.In.String(), a.Shown.String(), a.Mode, hex.EncodeToString(a.Data), a.Trace.String(),
		})
	}
	for _, t := range goodTolds {
		caller := ""
		if t.Caller != nil {
			caller = hex.EncodeToString(t.Caller.Append(nil))
		}
		v.Tolds = append(v.Tolds, toldVector{
			hex.EncodeToString(t.Append(nil)), t.Label.String(), t.Clearance.String(), t.Owns.String(), t.Shown.String(),
			append([]uint64{}, t.Handles...), caller, hex.EncodeToString(t.Data), t.Trace.String(),
		})
	}
	for _, all := range goodTurns {
		turns := turnsVector{hex.EncodeToString(AppendTurns(nil, all)), []turnVector{}}
		for _, t := range all {
			turns.Turns = append(turns.Turns, turnVector(t))
		}
		v.Turns = append(v.Turns, turns)
	}
	for _, text := range texts {
		t, _ := ParseTrace(text)
		v.Traceparents = append(v.Traceparents, traceVector{text, t.String()})
	}
	for op, info := range Ops {
		if info.Name != "" {
			v.Ops = append(v.Ops, opVector{Op(op), info.Name, info.Named, info.Timed, info.Body, info.Caller, info.Coded, info.Opened})
		}
	}
	for code := OK; code.Known(); code++ {
		v.Codes = append(v.Codes, codeVector{code, code.String()})
	}
	for _, b := range badLists {
		v.BadLists = append(v.BadLists, badVector{b.about, b.kind, hex.EncodeToString(b.bytes)})
	}
	v.Names = names
	return v
}

// The file is what the tables of this test give. A difference is a change of the
// format, which programs in the field would not understand.
func TestVectorsFile(t *testing.T) {
	want, err := json.MarshalIndent(build(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the tables give; if the format is meant to change, run go test -run VectorsFile -update", vectorsFile)
	}
}

func TestFramesComeBack(t *testing.T) {
	for _, g := range goodFrames {
		f, err := NewReader(bytes.NewReader(AppendFrame(nil, &g.frame))).Next()
		if err != nil {
			t.Errorf("%s: Next() = %v", g.about, err)
			continue
		}
		want := g.frame
		want.Name, want.Caller = uint16(len(want.NameBytes)), uint16(len(want.CallerBytes))
		want.Size = uint32(len(want.NameBytes) + len(want.CallerBytes) + len(want.Body))
		if f.Header != want.Header || !bytes.Equal(f.NameBytes, want.NameBytes) || !bytes.Equal(f.CallerBytes, want.CallerBytes) || !bytes.Equal(f.Body, want.Body) {
			t.Errorf("%s: Next() = %+v, want %+v", g.about, f, want)
		}
	}
}

// The layout as the package describes it, byte by byte.
func TestLayout(t *testing.T) {
	got := hex.EncodeToString(AppendFrame(nil, &Frame{
		Header:      Header{Op: OpCall, ID: 0x0807060504030201, Timeout: 0x14131211 * time.Millisecond, Call: 0x2827262524232221},
		NameBytes:   []byte("nm"),
		CallerBytes: []byte("cal"),
		Body:        []byte("body"),
	}))
	want := "09000000" + "04" + "00" + "0200" + "0102030405060708" + "11121314" + "0300" + "0000" + "2122232425262728" + hex.EncodeToString([]byte("nmcalbody"))
	if got != want {
		t.Errorf("AppendFrame() = %s, want %s", got, want)
	}
}

func TestBadFrames(t *testing.T) {
	for _, b := range badFrames {
		if h, err := ParseHeader(b.bytes); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: ParseHeader() = %+v, %v, want %v", b.about, h, err, ErrMalformed)
		}
	}
}

func TestListsComeBack(t *testing.T) {
	for _, want := range goodIdentities {
		if got, err := ParseIdentity(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseIdentity() = %+v, %v, want %+v", got, err, want)
		}
		if n := len(want.Append(nil)); n > MaxCaller {
			t.Errorf("an identity takes %d bytes, at most %d fit", n, MaxCaller)
		}
	}
	for _, want := range goodSpawns {
		if got, err := ParseSpawn(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseSpawn() = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range goodEnds {
		if got, err := ParseEnd(want.Append(nil)); err != nil || got != want {
			t.Errorf("ParseEnd() = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range goodMounts {
		if got, err := ParseMount(want.Append(nil)); err != nil || got != want {
			t.Errorf("ParseMount() = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range goodTurns {
		if got, err := ParseTurns(AppendTurns(nil, want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseTurns() = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range goodAsks {
		if got, err := ParseAsk(want.op, want.ask.Append(nil, want.op)); err != nil || !reflect.DeepEqual(got, want.ask) {
			t.Errorf("ParseAsk(%v) = %+v, %v, want %+v", want.op, got, err, want.ask)
		}
	}
	for _, want := range goodTolds {
		if got, err := ParseTold(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseTold() = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range goodExits {
		if got, err := ParseExit(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseExit() = %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestBadLists(t *testing.T) {
	for _, b := range badLists {
		var err error
		switch b.kind {
		case "identity":
			_, err = ParseIdentity(b.bytes)
		case "spawn":
			_, err = ParseSpawn(b.bytes)
		case "turns":
			_, err = ParseTurns(b.bytes)
		case "exit":
			_, err = ParseExit(b.bytes)
		case "mount":
			_, err = ParseMount(b.bytes)
		case "end":
			_, err = ParseEnd(b.bytes)
		case "told":
			_, err = ParseTold(b.bytes)
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with %s: %v, want %v", b.kind, b.about, err, ErrMalformed)
		}
	}
}

// Whatever an executor reports, the parser takes it.
func TestExitAppendIsTotal(t *testing.T) {
	e := Exit{Cause: "exit", Code: -1, Limit: strings.Repeat("é", MaxLimit), Detail: "a\x00b\xff" + strings.Repeat("x", 2*MaxDetail), Wall: -1, Memory: -1}
	got, err := ParseExit(e.Append(nil))
	if err != nil || got.Code != 0 || got.Limit != strings.Repeat("é", MaxLimit/2) || !strings.HasPrefix(got.Detail, "abxx") || len(got.Detail) != MaxDetail {
		t.Errorf("ParseExit() = %+v, %v", got, err)
	}
}

func TestNames(t *testing.T) {
	for _, n := range names {
		if got := ValidName([]byte(n.Text)); got != n.Valid {
			t.Errorf("ValidName(%q) = %v, want %v", n.Text, got, n.Valid)
		}
	}
}

func TestAppendFramePanics(t *testing.T) {
	for _, f := range []Frame{
		{Header: Header{Op: OpCall}},
		{Header: Header{Op: OpCall}, NameBytes: make([]byte, MaxName+1)},
		{Header: Header{Op: OpReply}, Body: make([]byte, MaxBody+1)},
		{Header: Header{Op: OpHello}, Body: []byte("x")},
		{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("AppendFrame(%+v) did not panic", f.Header)
				}
			}()
			AppendFrame(nil, &f)
		}()
	}
}

func TestTimeoutRoundsUp(t *testing.T) {
	b := make([]byte, HeaderSize)
	for d, want := range map[time.Duration]time.Duration{
		-1: 0, 0: 0, 1: time.Millisecond, time.Millisecond: time.Millisecond, time.Millisecond + 1: 2 * time.Millisecond,
		MaxTimeout: MaxTimeout, 1<<63 - 1: MaxTimeout,
	} {
		Header{Op: OpCall, Name: 1, Size: 1, Timeout: d}.Put(b)
		if h, err := ParseHeader(b); err != nil || h.Timeout != want {
			t.Errorf("timeout %v became %v, %v, want %v", d, h.Timeout, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for code := OK; code.Known(); code++ {
		if code.String() == "" || strings.Contains(code.String(), "(") {
			t.Errorf("code %d has no word", code)
		}
	}
	for got, want := range map[string]string{
		OpSpawn.String(): "spawn", Op(0).String(): "op(0)", Op(34).String(): "op(34)",
		OK.String(): "ok", TooLarge.String(): "too large", Code(15).String(): "code(15)",
		Error{Code: Denied, Message: "no"}.Error(): "denied: no", ErrBusy.Error(): "busy",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !errors.Is(Error{Code: Denied, Message: "no"}, ErrDenied) || errors.Is(ErrDenied, Error{Code: Denied, Message: "no"}) || errors.Is(ErrDenied, ErrBusy) || OK.Err() != nil {
		t.Error("errors.Is does not go by the code")
	}
}
