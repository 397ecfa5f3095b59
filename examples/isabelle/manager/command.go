package manager

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"cofferdam/examples/isabelle/protocol"
)

// Commands are what clients may ask for, as help lists them. The server has more
// if components of it do: those are not for strangers.
var commands = protocol.Commands

// options are the options of sessions that a client may set: none that reads or
// writes files, or has to do with time, memory and processes.
var options = []string{
	"eta_contract", "goals_limit", "names_long", "names_short", "names_unique", "quick_and_dirty", "show_brackets", "show_consts",
	"show_main_goal", "show_markup", "show_question_marks", "show_sorts", "show_types", "skip_proofs", "strict_facts", "thy_output_indent",
}

var (
	optionText = regexp.MustCompile(`^([a-z_]+)(=[A-Za-z0-9_.+-]*)?$`)
	nameText   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	modeText   = regexp.MustCompile(`^[A-Za-z0-9_]*$`)
	exportText = regexp.MustCompile(`^[A-Za-z0-9_.*:/?{},|\[\]-]*$`)
)

// words are an error as clients read it, so it begins as the server's do.
type words string

func (w words) Error() string { return string(w) }

func say(format string, args ...any) error { return words(fmt.Sprintf(format, args...)) }

// plan is a command that may go on to the instance.
type plan struct {
	name     string
	argument any           // as it is sent, with the paths of the inside
	session  string        // that it is about, "" for none
	async    bool          // it starts a task
	limit    time.Duration // of the task
	about    string        // for the log: what it is about, in the client's words
}

// checker reads the commands of one tenant.
type checker struct {
	limits Limits
	paths  *Table
	tmp    func(session string) string // directory of a session, on the host; "" if there is none
}

// understand reads the argument of a command. If that is none, refused is the answer; its
// name is empty otherwise.
func understand(m protocol.Message) (argument any, refused protocol.Message) {
	v, err := m.Value(protocol.Bounds{})
	if err != nil {
		return nil, protocol.Malformed(m)
	}
	a, ok := m.Arguments(v)
	if _, markup := a.(protocol.YXML); !ok || markup { // markup has no use, and is not translated
		return nil, protocol.BadArgument(m)
	}
	return a, protocol.Message{}
}

// plan says how a command goes on. Its error is what the client is to read.
func (c *checker) plan(name string, argument any) (p plan, err error) {
	p = plan{name: name, argument: argument}
	switch a := argument.(type) {
	case protocol.Session:
		p.async, p.limit, p.about = true, c.limits.Build, a.Session
		err = c.session(&a)
		p.argument = a.Object()
	case protocol.SessionID:
		p.async, p.limit, p.session = true, c.limits.Build, a.ID
		p.argument = a.Object()
	case protocol.UseTheories:
		p.async, p.limit, p.session, p.about = true, c.limits.Use, a.ID, strings.Join(a.Theories, " ")
		err = c.use(&a)
		p.argument = a.Object()
	case protocol.PurgeTheories:
		p.session, p.about = a.ID, strings.Join(a.Theories, " ")
		if a.Theories, err = c.theories(a.ID, a.MasterDir, a.Theories); err == nil {
			a.MasterDir, err = c.master(a.MasterDir)
		}
		p.argument = a.Object()
	}
	return p, err
}

func (c *checker) session(s *protocol.Session) (err error) {
	if s.Preferences != nil && *s.Preferences != "" {
		return words("Bad preferences: they are the server's own here")
	}
	s.Preferences = nil
	if err := c.few("options", s.Options); err != nil {
		return err
	}
	for _, o := range s.Options {
		if m := optionText.FindStringSubmatch(o); m == nil || !slices.Contains(options, m[1]) {
			name, _, _ := strings.Cut(o, "=")
			return say("Unknown option %q", name)
		}
	}
	if err := c.few("sessions", s.Include); err != nil {
		return err
	}
	for _, name := range append([]string{s.Session}, s.Include...) {
		if !nameText.MatchString(name) || len(name) > c.limits.Text {
			return say("Undefined session(s): %q", name)
		}
	}
	if err := c.few("print modes", s.PrintMode); err != nil {
		return err
	}
	for _, mode := range s.PrintMode {
		if !modeText.MatchString(mode) {
			return say("Bad print mode: %q", mode)
		}
	}
	if err := c.few("directories", s.Dirs); err != nil {
		return err
	}
	for i, dir := range s.Dirs {
		if s.Dirs[i], err = c.dir("", dir); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) use(u *protocol.UseTheories) (err error) {
	if u.Theories, err = c.theories(u.ID, u.MasterDir, u.Theories); err != nil {
		return err
	}
	if u.MasterDir, err = c.master(u.MasterDir); err != nil {
		return err
	}
	if len(u.Export) > c.limits.Text || !exportText.MatchString(u.Export) {
		return say("Bad export pattern: %.100q", u.Export)
	}
	// The server gives up by itself before we do, and then says how far it came.
	within := c.limits.Use.Seconds() * 0.9
	u.Margin = between(u.Margin, 20, 1000)
	u.CheckDelay = between(u.CheckDelay, 0.1, 10)
	if limit := int(within / u.CheckDelay); u.CheckLimit <= 0 || u.CheckLimit > limit {
		u.CheckLimit = limit
	}
	if u.Watchdog <= 0 || u.Watchdog > within {
		u.Watchdog = within
	}
	if u.StatusDelay >= 0 {
		u.StatusDelay = between(u.StatusDelay, 0.5, 600)
	}
	u.CleanupDelay = between(u.CleanupDelay, 0, 600)
	return nil
}

func between(n, low, high float64) float64 { return min(max(n, low), high) }

func (c *checker) few(what string, list []string) error {
	if len(list) > c.limits.Theories {
		return say("Too many %s: %d, of at most %d", what, len(list), c.limits.Theories)
	}
	for _, s := range list {
		if len(s) > c.limits.Text {
			return say("Too long: %.100q…", s)
		}
	}
	return nil
}

// dir translates a directory. What is somebody else's is not there.
func (c *checker) dir(base, given string) (string, error) {
	inside, host, ok := c.paths.Inside(base, given)
	if !ok || len(given) > c.limits.Text {
		return "", words(protocol.NoDirectory(host))
	}
	return inside, nil
}

func (c *checker) master(given *string) (*string, error) {
	if given == nil {
		return nil, nil // then it is that of the session
	}
	inside, err := c.dir("", *given)
	return &inside, err
}

// theories translates names, which stay, and paths, which start from the master
// directory or from that of the session.
func (c *checker) theories(session string, master *string, given []string) ([]string, error) {
	if err := c.few("theories", given); err != nil {
		return nil, err
	}
	var translated []string
	for _, theory := range given {
		name := strings.TrimSuffix(theory, ".thy") // the manual has it, the server refuses it
		dir, base := path.Split(name)
		if strings.ContainsAny(name, `\:`) || !nameText.MatchString(base) || base == "." || base == ".." {
			return nil, words(protocol.BadImport(theory))
		}
		if dir != "" {
			from := c.tmp(session)
			if master != nil {
				_, from, _ = c.paths.Inside("", *master)
			}
			inside, err := c.dir(from, dir)
			if err != nil {
				return nil, err
			}
			// One that goes down from there is the same on both sides, and is told of as it is.
			if strings.HasPrefix(dir, "/") || slices.Contains(strings.Split(dir, "/"), "..") {
				name = inside + "/" + base
			}
		}
		translated = append(translated, name)
	}
	if translated == nil && given != nil {
		translated = []string{}
	}
	return translated, nil
}
