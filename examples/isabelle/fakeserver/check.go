package fakeserver

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// checker checks one command of a theory.
type checker struct {
	s *session
	n *node
	i int
}

func (c *checker) command() command { return c.n.commands[c.i] }

// say adds a message about bytes of a text.
func (c *checker) say(kind, text string, src *source, start, end int) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.n.messages = append(c.n.messages, message{kind, text, src.position(start, end), c.i})
	c.n.changed = c.s.now()
}

// here says something about the command's word.
func (c *checker) here(kind, text string) {
	cmd := c.command()
	c.say(kind, text, c.n.src, cmd.start, cmd.start+max(len(cmd.name), 1))
}

func (c *checker) wrong(format string, args ...any) error {
	c.here("error", fmt.Sprintf(format, args...))
	return nil
}

// check returns an error only if the command could not be checked. That it is wrong
// is a message.
func (c *checker) check(ctx context.Context) error {
	cmd := c.command()
	if cmd.name == "" {
		return c.wrong("Outer syntax error%s: command expected,\nbut %s was found", c.n.src.place(cmd.start), cmd.args[0].describe())
	}
	for _, t := range cmd.args {
		if t.kind == unclosed {
			c.say("error", fmt.Sprintf("Outer lexical error%s: unclosed %s", c.n.src.place(t.start), t.value), c.n.src, t.start, t.end)
			return nil
		}
	}
	if c.n.goal != nil && !c.inProof(cmd.name) {
		c.n.goal = nil
		return c.wrong("Bad context for command %q -- using reset state", cmd.name)
	}
	switch cmd.name {
	case "lemma", "theorem", "corollary", "proposition", "schematic_goal":
		return c.statement()
	case "by", "apply", "done", "sorry", "oops":
		return c.proof()
	case "proof", "qed", "next", "have", "show", "hence", "thus", "assume", "fix", "obtain", "then", "from", "with", "using", "unfolding":
		c.n.goal = nil
		return c.wrong("%s: this server understands by, apply and done, and no other proofs", cmd.name)
	case "ML", "ML_val", "ML_command", "ML_file", "setup", "local_setup":
		return c.ml(ctx)
	case "value":
		return c.value()
	case "thm":
		return c.thm()
	}
	return nil
}

func (c *checker) inProof(name string) bool {
	switch name {
	case "by", "apply", "done", "sorry", "oops", "text", "txt", "thm", "term", "value", "ML_val", "ML_command",
		"proof", "qed", "next", "have", "show", "hence", "thus", "assume", "fix", "obtain", "then", "from", "with", "using", "unfolding":
		return true
	}
	return false
}

func (c *checker) value() error {
	for _, t := range c.command().args {
		if t.kind == quoted {
			if v, ok := value(connectives(t.value)); ok {
				c.here("writeln", fmt.Sprintf("%q\n  :: %q", strconv.FormatUint(v, 10), "nat"))
				return nil
			}
		}
	}
	return c.wrong("value: this server evaluates numbers, sums and products, and nothing else")
}

// known are facts of the library that anybody may ask for.
var known = map[string]string{"refl": "?t = ?t", "TrueI": "True", "conjI": "?P ⟹ ?Q ⟹ ?P ∧ ?Q", "impI": "(?P ⟹ ?Q) ⟹ ?P ⟶ ?Q"}

func (c *checker) thm() error {
	for _, t := range c.command().args {
		if t.kind != word {
			continue
		}
		fact, ok := c.n.fact(t.value)
		if !ok {
			c.say("error", fmt.Sprintf("Undefined fact: %q", t.value), c.n.src, t.start, t.end)
			return nil
		}
		c.here("writeln", fact)
	}
	return nil
}

// fact looks a name up in the theory and what it imports.
func (n *node) fact(name string) (string, bool) {
	if fact, ok := n.facts[name]; ok {
		return fact, true
	}
	for _, i := range n.imports {
		if fact, ok := i.fact(name); ok {
			return fact, true
		}
	}
	fact, ok := known[name]
	return fact, ok
}

// ml evaluates the text of a command, or of the file that it names.
func (c *checker) ml(ctx context.Context) error {
	cmd := c.command()
	var arg token
	for _, t := range cmd.args {
		if t.kind == quoted || t.kind == word && cmd.name == "ML_file" {
			arg = t
		}
	}
	if arg.end == 0 {
		return c.wrong("Outer syntax error%s: embedded content expected,\nbut end of command was found", c.n.src.place(cmd.end))
	}
	src, text, shift := c.n.src, arg.value, arg.inner
	before, after := "", ""
	switch cmd.name {
	case "ML_file":
		p, err := explode(strings.TrimSpace(arg.value))
		if err == nil {
			var at path
			if at, err = explode(c.n.path); err == nil {
				p, err = at.dir().join(p).expand(c.s.server.variable)
			}
		}
		if err != nil {
			return c.wrong("%v", err)
		}
		body, err := os.ReadFile(p.file(c.s.server.o.Dir))
		if err != nil {
			c.say("error", fmt.Sprintf("No such file: %q", p), c.n.src, arg.start, arg.end)
			return nil
		}
		src, text, shift = newSource(p.String(), string(body)), string(body), 0
	case "setup", "local_setup":
		before, after = "val _ = (", ") (Prover.theory ());"
	}
	ml := newMLText(text)
	err := c.s.prover.eval(ctx, c.n.name, src.line(shift), before+ml.b.String()+after, func(s said) {
		start, end := cmd.start, cmd.start+len(cmd.name) // of what nobody knows where it is
		if src != c.n.src {
			start, end = 0, 0
		}
		if s.start >= 0 {
			start = shift + ml.original(s.start-len(before))
			end = max(start, shift+ml.original(s.end-len(before)))
		}
		switch {
		case noise(s) || s.kind == "value" && cmd.name == "ML_command":
		case s.kind == "export":
			name, body, _ := strings.Cut(s.text, "\n")
			c.s.mu.Lock()
			c.n.exports = append(c.n.exports, export{name, body, c.i})
			c.s.mu.Unlock()
		case s.kind == "warning" || s.kind == "error":
			c.say(s.kind, s.text, src, start, end)
		case s.kind == "writeln" || s.kind == "value":
			c.say("writeln", s.text, src, start, end)
		} // tracing is for editors
	})
	return err
}
