package fakeserver

import (
	"fmt"
	"slices"
	"strings"
)

// goal is a statement that is to be proved.
type goal struct {
	name   string
	text   string
	holds  bool
	solved bool // by apply
}

// statement begins a proof: NAME [ATTRIBUTES]: fixes … assumes … shows ….
func (c *checker) statement() error {
	args := c.command().args
	name, i := "", 0
	skip := func(open, close string) {
		if i < len(args) && args[i].kind == sign && args[i].value == open {
			for ; i < len(args) && args[i].value != close; i++ {
			}
			i++
		}
	}
	skip("(", ")")
	if i+1 < len(args) && args[i].kind == word && args[i+1].kind == sign && (args[i+1].value == ":" || args[i+1].value == "[") {
		name = args[i].value
		i++
	}
	skip("[", "]")
	if i < len(args) && args[i].value == ":" && args[i].kind == sign {
		i++
	}
	var assumptions, goals []formula
	var before, after []string
	reader := &statements{atoms: make(map[string]atom)}
	section := "shows"
	for ; i < len(args); i++ {
		t := args[i]
		switch {
		case t.kind == word && slices.Contains([]string{"fixes", "assumes", "shows", "defines", "notes", "includes", "obtains"}, t.value):
			section = t.value
			continue
		case t.value == "and" && t.kind == word, section != "assumes" && section != "shows":
			continue
		case t.kind == word && i+1 < len(args) && args[i+1].value == ":" && args[i+1].kind == sign:
			i++
			continue
		case t.kind == sign && (t.value == "[" || t.value == "("):
			skip("[", "]")
			skip("(", ")")
			i--
			continue
		case t.kind == sign:
			return c.wrong("Outer syntax error%s: proposition expected,\nbut %s was found", c.n.src.place(t.start), t.describe())
		}
		f, err := reader.parse(t.value)
		if err != nil {
			c.say("error", fmt.Sprintf("%v%s\nFailed to parse prop", err, c.n.src.place(t.start)), c.n.src, t.start, t.end)
			return nil
		}
		prop := strings.Join(strings.Fields(t.value), " ")
		if section == "assumes" {
			assumptions, before = append(assumptions, f), append(before, prop)
		} else {
			goals, after = append(goals, f), append(after, prop)
		}
	}
	if len(goals) == 0 {
		return c.wrong("Outer syntax error%s: proposition expected,\nbut end of command was found", c.n.src.place(c.command().end))
	}
	c.n.goal = &goal{
		name: name, text: strings.Join(append(before, strings.Join(after, "\n")), " ⟹ "),
		holds: tautology(assumptions, goals, len(reader.atoms)),
	}
	return nil
}

// methods are the names of those that there are; all do the same.
var methods = strings.Fields(`
	simp simp_all auto blast fast fastforce force best clarify clarsimp safe iprover metis meson smt presburger linarith arith argo
	rule erule drule frule intro elim standard assumption induct induction cases insert unfold fold subst this fact tauto eval
	norm_num algebra sat satx order coinduction coinduct contradiction - succeed`)

func (c *checker) proof() error {
	g := c.n.goal
	cmd := c.command()
	if g == nil {
		return c.wrong("Bad context for command %q -- using reset state", cmd.name)
	}
	switch cmd.name {
	case "oops":
		c.n.goal = nil
		return nil
	case "sorry":
		c.n.goal = nil
		if c.s.batch && !c.s.settings.on("quick_and_dirty") && !c.s.settings.on("skip_proofs") {
			return c.wrong("Cheating requires quick_and_dirty mode!")
		}
		c.proved(g)
		return nil
	case "done":
		c.n.goal = nil
		if !g.solved {
			return c.wrong("Failed to finish proof:\ngoal (1 subgoal):\n 1. %s", g.text)
		}
		c.proved(g)
		return nil
	}
	if cmd.name == "by" {
		c.n.goal = nil
	}
	if len(cmd.args) == 0 {
		return c.wrong("Outer syntax error%s: method expected,\nbut end of command was found", c.n.src.place(cmd.end))
	}
	starts := true // where a method's name is expected
	for _, t := range cmd.args {
		if starts && t.kind == word && !slices.Contains(methods, t.value) {
			c.say("error", fmt.Sprintf("Undefined method: %q", t.value), c.n.src, t.start, t.end)
			return nil
		}
		starts = t.kind == sign && strings.Contains("(,;|", t.value)
	}
	switch {
	case cmd.name == "apply" && !g.holds:
		c.n.goal = nil
		return c.wrong("Failed to apply proof method:\ngoal (1 subgoal):\n 1. %s", g.text)
	case cmd.name == "apply":
		g.solved = true
	case !g.holds:
		return c.wrong("Failed to finish proof:\ngoal (1 subgoal):\n 1. %s", g.text)
	default:
		c.proved(g)
	}
	return nil
}

// proved makes a fact of a goal, and says so.
func (c *checker) proved(g *goal) {
	if g.name == "" {
		c.here("writeln", "theorem "+g.text)
		return
	}
	c.s.mu.Lock()
	c.n.facts[g.name] = g.text
	c.s.mu.Unlock()
	c.here("writeln", "theorem "+g.name+": "+g.text)
}
