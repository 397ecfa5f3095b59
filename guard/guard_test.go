package guard

import (
	"testing"

	"cofferdam/label"
)

func at(cur, clr string) State {
	return State{Label: label.MustParse(cur), Clearance: label.MustParse(clr)}
}

func out(f string) label.Privileges {
	return label.Privileges{Out: label.MustParseFormula(f)}
}

func in(f string) label.Privileges { return label.Privileges{In: label.MustParseFormula(f)} }

// A refusal says what does not flow where, with what, which privilege is missing,
// and what else would help.
func TestRefusal(t *testing.T) {
	l := label.MustParse
	second := func(_ State, err error) error { return err }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{
			"a secret into what is public",
			at("alice %% True", "alice & bob %% True").Alloc(label.Privileges{}, label.Public),
			`label ⊑ object: "alice" %% True cannot flow to True %% True; release it with a privilege (out) that implies "alice", or write to an object that your label flows to`,
		},
		{
			"a secret of two, with the privilege of one",
			at("alice & bob %% True", "alice & bob %% True").Alloc(out("bob"), label.Public),
			`label ⊑ object: "alice" /\ "bob" %% True cannot flow to True %% True (releasing with "bob"); release it with a privilege (out) that implies "alice", or write to an object that your label flows to`,
		},
		{
			"a privilege to release does not vouch",
			at("alice %% True", "alice & bob %% True").Alloc(out("alice"), l("True %% alice")),
			`label ⊑ object: "alice" %% True cannot flow to True %% "alice" (releasing with "alice"); vouch for it with a privilege (in) that implies "alice", or write to an object that your label flows to`,
		},
		{
			"both are missing",
			at("alice %% True", "alice %% True").Alloc(label.Privileges{}, l("True %% alice")),
			`label ⊑ object: "alice" %% True cannot flow to True %% "alice"; release it with a privilege (out) that implies "alice" and vouch for it with a privilege (in) that implies "alice", or write to an object that your label flows to`,
		},
		{
			"above the clearance, where no privilege reaches",
			at("True %% True", "alice %% True").Alloc(out("False"), l("bob %% True")),
			`object ⊑ clearance: "bob" %% True cannot flow to "alice" %% True; get a higher clearance first`,
		},
		{
			"reading what it may raise itself to",
			at("True %% True", "alice & bob %% True").Read(label.Privileges{}, l("alice %% True")),
			`object ⊑ label: "alice" %% True cannot flow to True %% True; release it with a privilege (out) that implies "alice", or raise your label to "alice" %% True first`,
		},
		{
			"reading what it may not raise itself to",
			at("True %% alice", "alice %% alice").Read(label.Privileges{}, l("bob %% True")),
			`object ⊑ label: "bob" %% True cannot flow to True %% "alice"; release it with a privilege (out) that implies "bob" and vouch for it with a privilege (in) that implies "alice", or be at a label of "bob" %% True, for which your clearance, "alice" %% "alice", is too low`,
		},
		{
			"raising above the clearance",
			second(at("True %% True", "alice %% True").Raise(l("bob %% True"))),
			`new label ⊑ clearance: "bob" %% True cannot flow to "alice" %% True; get a higher clearance first`,
		},
		{
			"raising downwards",
			second(at("alice %% True", "alice %% True").Raise(label.Public)),
			`label ⊑ new label: "alice" %% True cannot flow to True %% True`,
		},
		{
			"lowering with too little",
			second(at("alice %% True", "alice %% True").Lower(out("alice | bob"), label.Public)),
			`label ⊑ new label: "alice" %% True cannot flow to True %% True (releasing with ("alice" \/ "bob")); release it with a privilege (out) that implies "alice"`,
		},
		{
			"raising the clearance",
			second(at("True %% True", "alice %% True").SetClearance(label.Privileges{}, l("bob %% True"))),
			`new clearance ⊑ clearance: "bob" %% True cannot flow to "alice" %% True; release it with a privilege (out) that implies "bob", or ask for a lower one`,
		},
		{
			"lowering the clearance below the label",
			second(at("alice %% True", "alice %% True").SetClearance(label.Privileges{}, label.Public)),
			`label ⊑ new clearance: "alice" %% True cannot flow to True %% True; no clearance is below the label`,
		},
		{
			"calling with what only vouches",
			at("alice %% True", "alice %% True").Connect(in("alice"), Endpoint{Request: label.Public}),
			`label ⊑ object: "alice" %% True cannot flow to True %% True; release it with a privilege (out) that implies "alice", or write to an object that your label flows to`,
		},
		{
			"calling where one must be vouched for, with what may not vouch for it",
			at("True %% True", "True %% True").Connect(in("alice"), Endpoint{Request: l("True %% alice")}),
			`label ⊑ object: True %% True cannot flow to True %% "alice"; write to an object that your label flows to`,
		},
		{
			"relabelling",
			at("True %% True", "alice %% True").Relabel(label.Privileges{}, l("alice %% True"), label.Public),
			`old ⊑ new: "alice" %% True cannot flow to True %% True; release it with a privilege (out) that implies "alice"`,
		},
		{
			"writing to a volume",
			at("alice %% True", "alice %% True").Mount(label.Public, true),
			`label ⊑ volume: "alice" %% True cannot flow to True %% True; run it at the label of the volume, or mount it read-only`,
		},
		{
			"a child above oneself",
			at("True %% True", "alice %% True").Spawn(label.Privileges{}, at("True %% True", "bob %% True"), label.Public),
			`child's clearance ⊑ clearance: "bob" %% True cannot flow to "alice" %% True`,
		},
		{
			"a gate, shown too little",
			at("True %% True", "True %% True").Enter(label.True, Gate{Shows: label.MustParseFormula("alice")}),
			`shown ⟹ required: True %% True cannot flow to True %% "alice"; show a description that implies "alice"`,
		},
		{
			"a gate, steered by what nobody vouches for",
			at("True %% web", "True %% web").Enter(label.True, Gate{Integrity: label.MustParseFormula("user")}),
			`integrity ⟹ minimum: True %% "web" cannot flow to True %% "user"; what steers a gate must be vouched for: call it before you read anything less trusted`,
		},
		{
			"a gate that lets go what it does not own",
			at("alice & bob %% True", "alice & bob %% True").Release(label.MustParseFormula("alice"), label.Public),
			`gate ⊑ output: "alice" /\ "bob" %% True cannot flow to True %% True (releasing with "alice" and vouching with "alice"); release it with a privilege (out) that implies "bob"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil || tt.err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", tt.err, tt.want)
			}
		})
	}
}

// An agent sends what is alice's to the web with her privilege. In LIO, which has
// one privilege for both directions, that also makes the answer her word; here
// nothing but what is named for it does.
func TestReleasingDoesNotVouch(t *testing.T) {
	l := label.MustParse
	web := Endpoint{Request: l("web %% True"), Answer: l("True %% web")}
	agent := at("alice %% alice", "alice & web %% True")
	both := label.Privileges{Out: label.MustParseFormula("alice"), In: label.MustParseFormula("alice")}

	if err := agent.Connect(out("alice"), web); err == nil {
		t.Error("at the integrity of alice it hears the web, with a privilege that was named to release")
	}
	if err := agent.Connect(in("alice"), web); err == nil {
		t.Error("it tells the web what is alice's, with a privilege that was named to vouch")
	}
	if err := agent.Connect(both, web); err != nil {
		t.Errorf("with both named: %v", err)
	}
	if raised, err := agent.Taint(out("alice"), web.Answer); err != nil || raised.Label != l("alice %% alice | web") {
		t.Errorf("having read the answer it is %v, %v, and not a mixture of alice's and the web's", raised, err)
	} else if err := raised.Connect(out("alice"), web); err != nil {
		t.Errorf("once it has read the answer: %v", err)
	}

	// The other way round: who vouches for what it hears does not thereby vouch
	// for what it says, nor who releases what it says declassify what it hears.
	said := Endpoint{Request: l("True %% alice"), Answer: l("True %% web")}
	if err := at("True %% web", "True %% web").Connect(in("alice"), said); err == nil {
		t.Error("what the web says is alice's word, with a privilege that was named for the answer")
	}
	heard := Endpoint{Request: l("True %% True"), Answer: l("alice %% True")}
	if err := at("True %% True", "alice %% True").Connect(out("alice"), heard); err == nil {
		t.Error("a secret of alice's is heard in public, with a privilege that was named for the request")
	}
}
