package protocol

// Arguments of the commands that have their own. Those of a message are read by
// [Message.Arguments]; Object is how they are sent.

// Session is what session_build and session_start take.
type Session struct {
	Session     string
	Preferences *string // the text of a file of preferences
	Options     []string
	Dirs        []string
	Include     []string // include_sessions
	PrintMode   []string // session_start only
}

// SessionID is what session_stop takes.
type SessionID struct{ ID string }

// TaskID is what cancel takes.
type TaskID struct{ ID string }

// UseTheories is what use_theories takes. Times are in seconds.
type UseTheories struct {
	ID           string // of the session
	Theories     []string
	MasterDir    *string // nil: the directory of the session
	Margin       float64 // pretty_margin
	Symbols      bool    // unicode_symbols
	Export       string  // export_pattern
	CheckDelay   float64
	CheckLimit   int // 0: for ever
	Watchdog     float64
	StatusDelay  float64 // nodes_status_delay; negative: no such notes
	CleanupDelay float64 // commit_cleanup_delay
}

// PurgeTheories is what purge_theories takes.
type PurgeTheories struct {
	ID        string
	Theories  []string
	MasterDir *string
	All       bool
}

// Arguments makes of the value of the message what its command takes: [Unit]
// for help and shutdown, any value for echo, and one of the types of this file
// for the others. It is false for what the server calls a bad argument. Fields
// that it does not know are ignored.
func (m Message) Arguments(v any) (any, bool) {
	switch m.Name {
	case "echo":
		return v, true
	case "help", "shutdown":
		_, ok := v.(Unit)
		return v, ok
	}
	o, ok := v.(Object)
	if !ok {
		return nil, false
	}
	f := fields{o, true}
	var a any
	switch m.Name {
	case "cancel":
		a = TaskID{f.uuid("task")}
	case "session_stop":
		a = SessionID{f.uuid("session_id")}
	case "session_build":
		a = f.session()
	case "session_start":
		s := f.session()
		s.PrintMode = f.texts("print_mode")
		a = s
	case "use_theories":
		a = UseTheories{
			ID: f.uuid("session_id"), Theories: f.required("theories").texts("theories"), MasterDir: f.textOrNil("master_dir"),
			Margin: f.number("pretty_margin", 76), Symbols: f.bool("unicode_symbols"), Export: f.text("export_pattern"),
			CheckDelay: f.lenient("check_delay", 0.5), CheckLimit: f.lenientInt("check_limit"), Watchdog: f.lenient("watchdog_timeout", 600),
			StatusDelay: f.lenient("nodes_status_delay", -1), CleanupDelay: f.lenient("commit_cleanup_delay", 60),
		}
	case "purge_theories":
		a = PurgeTheories{f.uuid("session_id"), f.texts("theories"), f.textOrNil("master_dir"), f.bool("all")}
	default:
		return nil, false
	}
	return a, f.ok
}

// fields reads the fields of an argument. What is missing or of the wrong type
// makes it not ok.
type fields struct {
	o  Object
	ok bool
}

func (f *fields) session() Session {
	return Session{
		Session: *orEmpty(f.required("session").textOrNil("session")), Preferences: f.textOrNil("preferences"), Options: f.texts("options"),
		Dirs: f.texts("dirs"), Include: f.texts("include_sessions"),
	}
}

func (f *fields) required(name string) *fields {
	if _, ok := f.o.Get(name); !ok {
		f.ok = false
	}
	return f
}

func (f *fields) textOrNil(name string) *string {
	v, ok := f.o.Get(name)
	if !ok {
		return nil
	}
	s, ok := v.(string)
	f.ok = f.ok && ok
	return &s
}

func (f *fields) text(name string) string { return *orEmpty(f.textOrNil(name)) }

func orEmpty(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}

func (f *fields) texts(name string) []string {
	v, ok := f.o.Get(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	f.ok = f.ok && ok
	texts := make([]string, len(list))
	for i, v := range list {
		if texts[i], ok = v.(string); !ok {
			f.ok = false
		}
	}
	return texts
}

func (f *fields) bool(name string) bool {
	v, ok := f.o.Get(name)
	if !ok {
		return false
	}
	b, ok := v.(bool)
	f.ok = f.ok && ok
	return b
}

func (f *fields) number(name string, otherwise float64) float64 {
	v, ok := f.o.Get(name)
	if !ok {
		return otherwise
	}
	n, ok := v.(float64)
	f.ok = f.ok && ok
	return n
}

// lenient reads a number that the server takes for absent if it is none.
func (f *fields) lenient(name string, otherwise float64) float64 {
	v, _ := f.o.Get(name)
	if n, ok := v.(float64); ok {
		return n
	}
	return otherwise
}

func (f *fields) lenientInt(name string) int {
	n := f.lenient(name, 0)
	if n != float64(int32(n)) {
		return 0
	}
	return int(n)
}

func (f *fields) uuid(name string) string {
	id := f.required(name).text(name)
	canonical, ok := UUID(id)
	f.ok = f.ok && ok
	return canonical
}

// UUID returns the id in small letters, and whether it is one.
func UUID(id string) (string, bool) {
	if len(id) != 36 {
		return "", false
	}
	small := []byte(id)
	for i, c := range small {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return "", false
			}
		case '0' <= c && c <= '9' || 'a' <= c && c <= 'f':
		case 'A' <= c && c <= 'F':
			small[i] = c | 0x20
		default:
			return "", false
		}
	}
	return string(small), true
}

// Object is the argument as it is sent.
func (s Session) Object() Object {
	o := Object{{"session", s.Session}}
	if s.Preferences != nil {
		o = append(o, Field{"preferences", *s.Preferences})
	}
	for _, f := range []struct {
		name  string
		texts []string
	}{{"options", s.Options}, {"dirs", s.Dirs}, {"include_sessions", s.Include}, {"print_mode", s.PrintMode}} {
		if f.texts != nil {
			o = append(o, Field{f.name, f.texts})
		}
	}
	return o
}

// Object is the argument as it is sent.
func (s SessionID) Object() Object { return Object{{"session_id", s.ID}} }

// Object is the argument as it is sent.
func (t TaskID) Object() Object { return Object{{"task", t.ID}} }

// Object is the argument as it is sent.
func (u UseTheories) Object() Object {
	o := Object{{"session_id", u.ID}, {"theories", u.Theories}}
	if u.MasterDir != nil {
		o = append(o, Field{"master_dir", *u.MasterDir})
	}
	return append(o, Object{
		{"pretty_margin", u.Margin}, {"unicode_symbols", u.Symbols}, {"export_pattern", u.Export}, {"check_delay", u.CheckDelay},
		{"check_limit", u.CheckLimit}, {"watchdog_timeout", u.Watchdog}, {"nodes_status_delay", u.StatusDelay},
		{"commit_cleanup_delay", u.CleanupDelay},
	}...)
}

// Object is the argument as it is sent.
func (p PurgeTheories) Object() Object {
	o := Object{{"session_id", p.ID}}
	if p.Theories != nil {
		o = append(o, Field{"theories", p.Theories})
	}
	if p.MasterDir != nil {
		o = append(o, Field{"master_dir", *p.MasterDir})
	}
	return append(o, Field{"all", p.All})
}
