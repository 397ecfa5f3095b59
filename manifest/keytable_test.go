package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// section is one kind of mapping, as the schema and the reference show it.
type section struct {
	name    string // of the definition in the schema
	title   string
	keys    []row
	refused []refusal
}

type row struct {
	name     string
	shape    shape
	required bool
	absent   string
	doc      string
}

func sectionOf[T any](name, title string, t table[T]) section {
	s := section{name: name, title: title, refused: t.refused}
	for _, k := range t.keys {
		s.keys = append(s.keys, row{k.name, k.shape, k.required, k.absent, k.doc})
	}
	return s
}

// sections is the parser's own table of keys.
func sections() []section {
	return []section{
		sectionOf("app", "The manifest", appKeys()),
		sectionOf("budget", "budget", budgetKeys()),
		sectionOf("audit", "audit", auditKeys()),
		sectionOf("gateway", "gateway", gatewayKeys()),
		sectionOf("authenticate", "gateway.authenticate", authenticateKeys()),
		sectionOf("route", "gateway.routes", routeKeys()),
		sectionOf("gatewayLimits", "gateway.limits", gatewayLimitKeys()),
		sectionOf("door", "gateway.tcp", doorKeys()),
		sectionOf("person", "principals", personKeys()),
		sectionOf("mailbox", "mailboxes", mailboxKeys()),
		sectionOf("share", "shares", shareKeys()),
		sectionOf("egress", "egress", egressKeys()),
		sectionOf("metrics", "metrics", metricsKeys()),
		sectionOf("traces", "traces", tracesKeys()),
		sectionOf("service", "services.NAME", serviceKeys()),
		sectionOf("file", "services.NAME.files", fileKeys()),
		sectionOf("volume", "services.NAME.volumes", volumeKeys()),
		sectionOf("tmpfs", "services.NAME.tmpfs", tmpfsKeys()),
		sectionOf("port", "services.NAME.http", portKeys()),
		sectionOf("provide", "services.NAME.provides", provideKeys()),
		sectionOf("gate", "services.NAME.provides.gate", gateKeys()),
		sectionOf("use", "services.NAME.uses", useKeys()),
		sectionOf("rates", "services.NAME.uses.rate", ratesKeys()),
		sectionOf("limits", "services.NAME.limits", limitKeys()),
		sectionOf("healthcheck", "services.NAME.healthcheck", healthKeys()),
		sectionOf("restart", "services.NAME.restart", restartKeys()),
		sectionOf("warm", "services.NAME.warm", warmKeys()),
	}
}

// members is a JSON object that keeps the order of its keys.
type members []member

type member struct {
	key string
	val any
}

func (ms members) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range ms {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(compactJSON(m.key))
		b.WriteByte(':')
		b.Write(compactJSON(m.val))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func ref(name string) any { return members{{"$ref", "#/$defs/" + name}} }

func listOf(item any, most int) members {
	return members{{"type", "array"}, {"items", item}, {"maxItems", most}}
}

func pattern(p string) members { return members{{"type", "string"}, {"pattern", p}} }

func words(ws ...string) members { return members{{"enum", ws}} }

func integers(low, high int) members {
	return members{{"type", "integer"}, {"minimum", low}, {"maximum", high}}
}

func orUnlimited(s members) any {
	return members{{"anyOf", []any{s, members{{"const", unlimited}}}}}
}

func oneOrMore(item any, list members) any {
	return members{{"anyOf", []any{item, list}}}
}

// schemaOf is the JSON Schema of each shape.
func schemaOf() map[shape]any {
	const noNUL = `^[^\x00]*$`
	var (
		name     = members{{"type", "string"}, {"pattern", serviceNames.String()}, {"not", words(reserved...)}}
		size     = pattern(sizes.String())
		duration = members{{"type", "string"}, {"minLength", 2}, {"pattern", durations.String()}}
		inside   = pattern(`^/`)
		text     = pattern(noNUL)
		policy   = words("always", "on-failure", "no")
		names    = listOf(name, maxServices)
		method   = pattern(`^[a-z][a-z0-9_-]{0,31}\.[a-z][a-z0-9_-]{0,31}$`)

		labelledPort = members{{"anyOf", []any{integers(1, 65535), ref("port")}}}
		principal    = members{{"type", "string"}, {"pattern", `^[^\x00-\x20"\\{}$]+$`}}
	)
	return map[shape]any{
		aVersion:      members{{"const", 1}},
		anAppName:     pattern(appNames.String()),
		aName:         name,
		someNames:     names,
		someCallers:   listOf(members{{"anyOf", []any{name, members{{"const", gatewayName}}}}}, maxServices),
		someShields:   listOf(pattern(shieldNames.String()), maxList),
		aGateway:      ref("gateway"),
		services:      members{{"type", "object"}, {"propertyNames", name}, {"additionalProperties", ref("service")}, {"maxProperties", maxServices}},
		anAddress:     pattern(`^(localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$`),
		someRoutes:    listOf(ref("route"), maxList),
		aPattern:      members{{"type", "string"}, {"maxLength", maxPattern}},
		gatewayBounds: ref("gatewayLimits"),
		someDoors:     listOf(ref("door"), maxDoors),
		anyoneWord:    members{{"const", "anyone"}},
		aCount:        integers(1, 1<<16),
		aPort:         integers(1, 65535),
		somePorts:     oneOrMore(labelledPort, listOf(labelledPort, 64)),
		aLabelledPort: labelledPort,
		aLabel:        pattern(`%%`),
		aFormula:      members{{"type", "string"}, {"minLength", 1}},

		somePrincipals: listOf(members{{"anyOf", []any{principal, ref("person")}}}, maxList),
		aPrincipalName: principal,
		someMailboxes:  listOf(ref("mailbox"), maxList),
		someAsserts:    listOf(pattern(asserts.String()), maxList),
		anAuthenticate: members{{"anyOf", []any{method, ref("authenticate")}}},
		aCookie:        pattern(cookieNames.String()),
		aWebPath:       pattern(webPaths.String()),
		aGate:          ref("gate"),
		aBool:          members{{"type", "boolean"}},
		aPath:          members{{"type", "string"}, {"minLength", 1}},
		anInsidePath:   inside,
		aCommand:       append(listOf(text, maxList), member{"minItems", 1}),
		variables: members{{"anyOf", []any{
			members{
				{"type", "object"}, {"propertyNames", members{{"pattern", envNames.String()}}},
				{"additionalProperties", members{{"type", []string{"string", "integer"}}, {"pattern", noNUL}}}, {"maxProperties", maxList},
			},
			listOf(pattern(`^[A-Za-z_][A-Za-z0-9_]{0,127}=`), maxList),
		}}},
		aRuntime:     words("host"),
		someFiles:    listOf(members{{"anyOf", []any{ref("file"), pattern(`^[^:]+:/[^:]*$`)}}}, maxList),
		someVolumes:  listOf(ref("volume"), maxVolumes),
		aVolumeName:  pattern(`^([a-z0-9]|\{principal\})([a-z0-9._-]|\{principal\})*$`),
		someTmpfs:    listOf(ref("tmpfs"), maxList),
		someShares:   listOf(ref("share"), maxList),
		aSize:        size,
		aSizeLimit:   orUnlimited(size),
		aCountLimit:  orUnlimited(integers(1, 1<<22)),
		aShareLimit:  orUnlimited(members{{"type", "number"}, {"minimum", 0.01}, {"maximum", 1024}}),
		aTime:        duration,
		aTimeLimit:   orUnlimited(duration),
		aStdio:       words("lines"),
		someProvides: listOf(ref("provide"), maxList),
		someUses:     listOf(ref("use"), maxList),
		aMethod:      method,
		aPeer:        pattern(`^[a-z][a-z0-9_-]{0,31}(:[1-9][0-9]{0,4})?$`),
		anEgress:     ref("egress"),
		someMetrics:  ref("metrics"),
		someTraces:   ref("traces"),
		aRatio:       members{{"type", "number"}, {"minimum", 0}, {"maximum", 1}},
		aLocalListen: pattern(`^(socket|(localhost|127[0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5})$`),
		aResolver:    pattern(`^([0-9.]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$`),
		anEndpoint:   pattern(`^([a-z0-9.-]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$`),
		aRate:        rateSchema(counts),
		someRates:    members{{"anyOf", []any{rateSchema(counts), ref("rates")}}},
		totalRates:   ref("rates"),
		aRequestRate: rateSchema(counts),
		aBytesRate:   rateSchema(sizes),
		anInstances:  words(shared, perCall, perLabel, perPrincipal),
		limits:       ref("limits"),
		aBudget:      ref("budget"),
		anAudit:      ref("audit"),
		aWarm:        members{{"anyOf", []any{integers(1, maxWarm), words(byFork, byExec, noWarm), ref("warm")}}},
		aWarmth:      words(byFork, byExec, noWarm),
		someModules:  listOf(pattern(moduleNames.String()+"|"+nodeModules.String()), maxModules),
		aRestart:     oneOrMore(policy, members{{"$ref", "#/$defs/restart"}}),
		aPolicy:      policy,
		aHealth:      ref("healthcheck"),
		aRequestPath: pattern(healthPaths.String()),
		onUnhealthy:  words(Replace, Stop, Ignore),
		aTarget:      pattern(serviceNames.String()),
	}
}

// rateSchema is that of a rate whose amounts have this grammar.
func rateSchema(amounts *regexp.Regexp) members {
	amount := strings.Trim(amounts.String(), "^$")
	return members{{"anyOf", []any{pattern("^" + amount + "/(s|min|h)( burst " + amount + ")?( per principal)?$"), members{{"const", unlimited}}}}}
}

// schema is the JSON Schema that follows from the table of keys.
func schema() ([]byte, error) {
	shapes := schemaOf()
	defs := members{}
	top := members{}
	for _, s := range sections() {
		properties, required := members{}, []string{}
		for _, k := range s.keys {
			form, ok := shapes[k.shape].(members)
			if !ok {
				return nil, fmt.Errorf("no schema for %q of %s", k.shape, k.name)
			}
			doc := k.doc
			if k.absent != "" {
				doc += " Without it: " + k.absent + "."
			}
			properties = append(properties, member{k.name, append(members{{"description", doc}}, form...)})
			if k.required {
				required = append(required, k.name)
			}
		}
		def := members{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}}
		if len(required) > 0 {
			def = append(def, member{"required", required})
		}
		if s.name == "use" {
			def = append(def,
				member{"oneOf", []any{needs("call"), needs("spawn"), needs("connect"), needs("share"), needs("egress"), needs("post"), needs("put"), needs("take")}},
				member{"dependentRequired", members{{"bound", []string{"call"}}, {"into", []string{"share"}}, {"share", []string{"into"}}, {"private", []string{"egress"}}, {"request", []string{"egress"}}, {"answer", []string{"egress"}}}})
		}
		if s.name == "healthcheck" {
			def = append(def, member{"oneOf", []any{needs("exec"), needs("http"), needs("call")}})
		}
		if s.name == "app" {
			top = def
			continue
		}
		defs = append(defs, member{s.name, def})
	}
	return indentJSON(append(members{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "https://cofferdam.invalid/manifest.schema.json"},
		{"title", "cofferdam.yaml, version 1"},
	}, append(top, member{"$defs", defs})...)), nil
}

func needs(key string) any { return members{{"required", []string{key}}} }

// reference is the tables of keys for people, in Markdown.
func reference() string {
	var b strings.Builder
	for _, s := range sections() {
		fmt.Fprintf(&b, "### %s\n\n| key | value | without it | meaning |\n|---|---|---|---|\n", s.title)
		for _, k := range s.keys {
			absent := k.absent
			if k.required {
				absent = "an error"
			}
			row := strings.NewReplacer("|", `\|`)
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, row.Replace(string(k.shape)), row.Replace(absent), row.Replace(k.doc))
		}
		b.WriteByte('\n')
		if len(s.refused) == 0 {
			continue
		}
		b.WriteString("Refused here, with the reason:\n\n")
		for _, no := range s.refused {
			fmt.Fprintf(&b, "- `%s`: %s", no.name, no.reason)
			if no.instead != "" {
				fmt.Fprintf(&b, "; %s", no.instead)
			}
			b.WriteString("\n")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
