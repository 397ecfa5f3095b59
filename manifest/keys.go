package manifest

// The shapes of values. The JSON Schema has one definition for each.
const (
	aVersion      shape = "the number 1"
	anAppName     shape = "a name of at most 32 small letters, digits and -"
	aName         shape = "a name: a small letter, then at most 31 of a-z 0-9 _ -"
	someNames     shape = "a list of names"
	someCallers   shape = "a list of names of services, or gateway"
	aShield       shape = "the name of a protection, as doctor lists them"
	someShields   shape = "a list of protections, as doctor lists them"
	aGateway      shape = "a mapping: the gateway"
	services      shape = "a mapping from names to services"
	aService      shape = "a mapping: a service"
	anAddress     shape = "an address and a port, such as 127.0.0.1:8888"
	someRoutes    shape = "a list of routes"
	aRoute        shape = "a mapping: a route"
	aPattern      shape = "a regular expression (RE2)"
	gatewayBounds shape = "a mapping: the gateway's limits"
	someDoors     shape = "a list of doors"
	aDoor         shape = "a mapping: a door"
	aCount        shape = "a number"
	aPort         shape = "a port"
	somePorts     shape = "a port or a list of ports, each a number or a mapping with labels"
	aBool         shape = "true or false"
	aText         shape = "text"
	aPath         shape = "a path"
	anInsidePath  shape = "an absolute path inside"
	aCommand      shape = "a list: the program and its arguments"
	variables     shape = "a mapping from names to text, or a list of NAME=text"
	aRuntime      shape = "the word host"
	someFiles     shape = "a list of files"
	aFile         shape = "a file: {from: path here, to: path inside}, or from:to"
	someVolumes   shape = "a list of volumes"
	aVolume       shape = "a mapping: a volume"
	aVolumeName   shape = "a volume's name: a-z 0-9 . _ -, and {principal} at most once"
	someTmpfs     shape = "a list of tmpfs"
	aTmpfs        shape = "a mapping: a tmpfs"
	someShares    shape = "a list of shares"
	aShare        shape = "a mapping: a share"
	aTarget       shape = "a service, or the word self"
	aSize         shape = "a size such as 64M"
	aSizeLimit    shape = "a size such as 64M, or unlimited"
	aCountLimit   shape = "a number, or unlimited"
	aShareLimit   shape = "a number of cores such as 0.5, or unlimited"
	aTime         shape = "a time such as 1m30s"
	aTimeLimit    shape = "a time such as 1m30s, or unlimited"
	aStdio        shape = "the word lines"
	someProvides  shape = "a list of methods"
	aProvide      shape = "a mapping: a method"
	someUses      shape = "a list of uses"
	aUse          shape = "a mapping: a use"
	anyoneWord    shape = "the word anyone"
	aMethod       shape = "service.method"
	aPeer         shape = "service or service:port"
	anInstances   shape = "shared, per-call, per-label or per-principal"
	aLabel        shape = "a label: SECRECY %% INTEGRITY"
	aFormula      shape = "a formula of principals, such as alice & (bob | carol)"

	somePrincipals shape = "a list of principals"
	aPrincipal     shape = "a mapping: a person"
	aPrincipalName shape = "a principal's name, without spaces, quotes, braces, $ and backslashes"
	someMailboxes  shape = "a list of mailboxes"
	aMailbox       shape = "a mapping: a mailbox"
	someAsserts    shape = "a list of assertions"
	anAssert       shape = "an assertion: FROM -/-> TO, or FROM -/-> TO except NAME, NAME"
	anAuthenticate shape = "service.method, or a mapping: the authenticator"
	aCookie        shape = "a cookie's name"
	aWebPath       shape = "a path of the web site, such as /login"
	aLabelledPort  shape = "a port, or a mapping: a port with labels"
	aGate          shape = "a mapping: a gate"
	limits         shape = "a mapping: limits"
	aBudget        shape = "a mapping: the budget"
	anAudit        shape = "a mapping: the audit log"
	aRestart       shape = "always, on-failure or no, or a mapping"
	aPolicy        shape = "always, on-failure or no"
	aHealth        shape = "a mapping: a health check"
	aRequestPath   shape = "a path such as /health, in ASCII and without spaces"
	onUnhealthy    shape = "replace, stop or ignore"
)

// What holds where no label is written.
const (
	publicLabel  = "True %% True: public"
	serviceLabel = "the label of the service"
)

func appKeys() table[App] {
	return table[App]{
		keys: []key[App]{
			{"version", aVersion, true, "", "The version of this grammar.", readVersion},
			{"name", anAppName, false, "the directory's name", "The name of the application.", readAppName},
			{"gateway", aGateway, false, "no door for people", "HTTP and other connections from people to services.", readGateway},
			{"egress", anEgress, false, "see there", "How the names outside are found that uses list.", func(r *reader, v value, a *App) {
				a.Egress = &Egress{Pos: v.pos()}
				mapping(r, v, anEgress, egressKeys(), a.Egress)
			}},
			{"metrics", someMetrics, false, "nobody is shown any; top and stats always are", "Where the numbers of docs/METRICS.md can be read.", func(r *reader, v value, a *App) {
				a.Metrics = &Metrics{Pos: v.pos()}
				mapping(r, v, someMetrics, metricsKeys(), a.Metrics)
			}},
			{"traces", someTraces, false, "no calls are traced", "Where calls are told of, as docs/METRICS.md explains: those in which nothing is secret.", func(r *reader, v value, a *App) {
				a.Traces = &Traces{Pos: v.pos(), Ratio: 1}
				mapping(r, v, someTraces, tracesKeys(), a.Traces)
			}},
			{"principals", somePrincipals, false, "labels name nobody", "All names that labels use: each a name, or {person: name}.", readPrincipals},
			{"services", services, false, "nothing runs", "What runs, and what it may reach.", readServices},
			{"budget", aBudget, false, "an eighth of the host", "What all of it together may use.", func(r *reader, v value, a *App) {
				a.Budget.Pos = v.pos()
				mapping(r, v, aBudget, budgetKeys(), &a.Budget)
			}},
			{"audit", anAudit, false, "see there", "How the log of decisions is kept.", func(r *reader, v value, a *App) {
				mapping(r, v, anAudit, auditKeys(), &a.Audit)
			}},
			{"mailboxes", someMailboxes, false, "none", "Queues of messages between services.", readMailboxes},
			{"assert", someAsserts, false, "nothing is asserted", "What must not flow where, on any path that this manifest leaves. Names are those of services, volumes, mailboxes and endpoints outside, internet for all of the latter, and people for whoever uses the gateway. What passes through one that is excepted is permitted. A violation is an error.", readAsserts},
			{"shares", someShares, false, "nothing can be mounted", "Directories of the host that services with {share: …} among their uses may mount while they run, whole or in parts.", readShares},
			{"allow_degraded", someShields, false, "none", "Protections that this host may lack. Each is weaker isolation: shown by up, ps and check, and in every audit record of an application that does without. One that the host has is enforced all the same.", readAllowDegraded},
		},
		refused: []refusal{
			{"networks", "there is no network between services, only what a line here grants", "write provides and uses at the services"},
			{"volumes", "a volume belongs to the one service that has it", "write volumes at the service"},
			{"secrets", "secrets are not part of this version", "show a file with files, or keep it in a volume"},
			{"configs", "it would be a second word for files", "write files at the service"},
			{"include", "one file is the whole of what is granted", ""},
			{"extends", "one file is the whole of what is granted", ""},
			{"bus", "the door to other hosts is not part of this version", ""},
		},
	}
}

func budgetKeys() table[Budget] {
	const otherwise = "an eighth of the host's, or what its services need"
	return table[Budget]{keys: []key[Budget]{
		{"memory", aSizeLimit, false, otherwise, "The sum of limits.memory of all that runs at a time.", func(r *reader, v value, b *Budget) {
			b.Memory = r.sizeLimit(v, 1<<20)
		}},
		{"pids", aCountLimit, false, otherwise, "The sum of limits.pids.", func(r *reader, v value, b *Budget) {
			b.Pids = r.countLimit(v, 1<<22)
		}},
		{"instances", aCountLimit, false, "256, or as many as its services need", "Environments at a time.", func(r *reader, v value, b *Budget) {
			b.Instances = r.countLimit(v, 1<<16)
		}},
		{"per_principal", totalRates, false, "no limit", "What all instances that run for one principal do, together.", readTotalRates},
	}, refused: []refusal{
		{"cpus", "a share of the processor is a limit of each service", "write limits: {cpus: …}"},
	}}
}

func gatewayKeys() table[Gateway] {
	return table[Gateway]{keys: []key[Gateway]{
		{"listen", anAddress, false, "no HTTP from people; then tcp must be written", "Where the host listens for HTTP. Port 0 takes a free one; every address is written 0.0.0.0 or [::].", func(r *reader, v value, g *Gateway) {
			g.Listen = r.address(v)
		}},
		{"routes", someRoutes, false, "every path is not found", "Which paths go where. The first that matches wins.", readRoutes},
		{"authenticate", anAuthenticate, false, "nobody is told apart", "Who knows which principal a request comes from.", readAuthenticate},
		{"limits", gatewayBounds, false, "see there", "Bounds of what people may send over HTTP.", func(r *reader, v value, g *Gateway) {
			mapping(r, v, gatewayBounds, gatewayLimitKeys(), &g.Limits)
		}},
		{"tcp", someDoors, false, "none", "Ports of the host for what is not HTTP: each connection is led on to a service, byte for byte.", readDoors},
	}}
}

func routeKeys() table[Route] {
	return table[Route]{keys: []key[Route]{
		{"path", aPattern, true, "", "Matched against the whole path, as if between ^ and $.", readPattern},
		{"to", aName, true, "", "The service, which must have http.", readRouteTo},
		{"nobody", aName, false, "they go where the others go; from a service with an instance for each principal to login, or they are refused", "The service of those who are not recognised, which must have http and one instance for all.", readRouteNobody},
		{"rate", aRequestRate, false, "no limit", "Requests of each principal, and of each address that is not recognised; further ones get 429.", func(r *reader, v value, route *Route) {
			route.Rate = r.requestRate(v)
		}},
		{"websocket", aBool, false, "false", "A request may become a web socket, if its answer is public and the page that asks, if one does, is of the same origin. It counts as a request that goes on until it ends, whatever the timeout is.", func(r *reader, v value, route *Route) {
			route.WebSocket = r.boolean(v)
		}},
		{"request", aLabel, false, "True %% {principal} with authenticate, and public from who is not recognised; public without", "Label of what a person sends.", func(r *reader, v value, route *Route) {
			route.Request = r.label(v)
		}},
		{"answer", aLabel, false, "{principal} %% True with authenticate, and public to who is not recognised; public without", "Bound on the label of what the person may be sent.", func(r *reader, v value, route *Route) {
			route.Answer = r.label(v)
		}},
	}}
}

func gatewayLimitKeys() table[GatewayLimits] {
	return table[GatewayLimits]{keys: []key[GatewayLimits]{
		{"header", aSize, false, "16K", "Size of a request's header.", func(r *reader, v value, l *GatewayLimits) {
			l.HeaderBytes = r.size(v, aSize, 1<<10)
		}},
		{"body", aSize, false, "1M", "Size of a request's body.", func(r *reader, v value, l *GatewayLimits) {
			l.BodyBytes = r.size(v, aSize, 0)
		}},
		{"timeout", aTime, false, "1m", "Time for a request to come whole and for its answer to begin, and then between one piece of the answer and the next.", func(r *reader, v value, l *GatewayLimits) {
			l.Timeout = r.duration(v, aTime, maxDuration)
		}},
		{"stream", aTime, false, "1h", "Time for an answer from its beginning to its end, as long as pieces of it come: of a download, or of events. Its client has to read 1 KiB for each second that it takes beyond timeout; and while more than three quarters of connections are in use no answer takes longer than timeout.", func(r *reader, v value, l *GatewayLimits) {
			l.Stream = r.duration(v, aTime, maxDuration)
		}},
		{"answer", aTime, false, "timeout alone, which says nothing of the service", "Time for a service to begin its answer, from when it was sent the whole request. It is the deadline of a request: one that passes it may be found unresponsive.", func(r *reader, v value, l *GatewayLimits) {
			l.Answer = r.duration(v, aTime, maxDeadline)
		}},
		{"idle", aTime, false, "10m", "How long a web socket lasts over which nothing comes either way.", func(r *reader, v value, l *GatewayLimits) {
			l.Idle = r.duration(v, aTime, maxDuration)
		}},
		{"connections", aCount, false, "512", "Connections at a time.", func(r *reader, v value, l *GatewayLimits) {
			l.Connections = r.integer(v, aCount, 1, 1<<16)
		}},
		{"per_peer", aCount, false, "half of connections", "Connections at a time from one address (of IPv6, one /64); further ones get 429. Connections between services: from one service, or one principal that it runs for.", func(r *reader, v value, l *GatewayLimits) {
			l.PerPeer = r.integer(v, aCount, 1, 1<<16)
		}},
		{"per_principal", aCount, false, "a quarter of connections", "Requests at a time of one principal; further ones get 429.", func(r *reader, v value, l *GatewayLimits) {
			l.PerPrincipal = r.integer(v, aCount, 1, 1<<16)
		}},
		{"rate", aRequestRate, false, "no limit", "Requests from one address, before anybody is asked who it is; further ones get 429.", func(r *reader, v value, l *GatewayLimits) {
			l.Rate = r.requestRate(v)
		}},
	}}
}

func serviceKeys() table[Service] {
	return table[Service]{
		keys: []key[Service]{
			{"template", aBool, false, "false", "Not started with the others, but by whoever has {spawn: …} among its uses.", func(r *reader, v value, s *Service) {
				s.Template = r.boolean(v)
			}},
			{"runtime", aRuntime, false, "no files but those listed", "host shows the host's /usr, /bin, /sbin and /lib*, read-only.", func(r *reader, v value, s *Service) {
				s.Runtime, _ = r.oneOf(v, aRuntime, "host")
			}},
			{"command", aCommand, true, "", "What runs. No shell is involved.", readCommand},
			{"environment", variables, false, "none", "Environment variables. Nothing is inherited.", readEnvironment},
			{"working_dir", anInsidePath, false, "/", "The directory it starts in.", func(r *reader, v value, s *Service) {
				s.WorkingDir, _ = r.insidePath(v)
			}},
			{"sendfile", aBool, false, "false", "It has sendfile(2), splice(2) and tee(2), which pass memory on instead of what is in it. Programs mostly do without by themselves; one that does not is nginx, unless it is told `sendfile off`. What such a service sends to others over TCP is copied on its way, and takes longer. Not with direct.", func(r *reader, v value, s *Service) {
				s.Sendfile = r.boolean(v)
			}},
			{"files", someFiles, false, "none", "Host files and directories that it sees, read-only.", readFiles},
			{"volumes", someVolumes, false, "none", "Storage that stays when it ends.", readVolumes},
			{"tmpfs", someTmpfs, false, "none", "Scratch space in memory, besides /tmp.", readTmpfs},
			{"label", aLabel, false, publicLabel, "What it holds when it starts: SECRECY %% INTEGRITY. It may write to nothing below and read nothing above.", func(r *reader, v value, s *Service) {
				s.Label = r.label(v)
			}},
			{"clearance", aLabel, false, "its label", "How far it may raise its label: what it may ever read, and how little vouched for.", func(r *reader, v value, s *Service) {
				s.Clearance = r.label(v)
			}},
			{"owns", aFormula, false, "True: no power", "The privileges of an instance: whose secrets it may release and in whose name it may vouch.", func(r *reader, v value, s *Service) {
				s.Owns = r.formula(v)
			}},
			{"http", aLabelledPort, false, "none", "The port inside on which it speaks HTTP.", readHTTP},
			{"tcp", somePorts, false, "none", "Further ports inside on which it listens.", readTCP},
			{"stdio", aStdio, false, "it serves methods itself", "lines runs the command once per call, with the request on its standard input.", func(r *reader, v value, s *Service) {
				s.Stdio, _ = r.oneOf(v, aStdio, "lines")
			}},
			{"provides", someProvides, false, "none", "The methods that it answers.", readProvides},
			{"uses", someUses, false, "none", "What it may reach.", readUses},
			{"instances", anInstances, false, "shared; per-call with stdio; per-principal for a template", "Which instance answers: the one that there is, a new one for each call, or one for each label or principal of its callers, which is started when the first comes. One per call or per label has its own label and that of its caller together.", func(r *reader, v value, s *Service) {
				s.Instances, _ = r.oneOf(v, anInstances, shared, perCall, perLabel, perPrincipal)
			}},
			{"idle", aTime, false, "1m", "With an instance for each label or principal: how long one stays that nobody uses.", func(r *reader, v value, s *Service) {
				s.Idle = r.duration(v, aTime, maxDuration)
			}},
			{"max_instances", aCount, false, "16", "With an instance for each label or principal: how many run at a time. For one more, that which has been idle for longest ends; if none is, its callers wait in a queue.", func(r *reader, v value, s *Service) {
				s.MaxInstances = r.integer(v, aCount, 1, 1<<16)
			}},
			{"warm", aWarm, false, "no", "A number: instances that run and are ready before anybody has asked, and are nobody's until then. With an instance for each label or principal: so many spares, as far as the budget and max_instances have room. With one shared instance: 1, which takes over at once when the other ends. Of a template, or a program per call: so many environments that wait, complete but for the program. The word fork: each instance is a fork of an interpreter of Python that waits, which is faster, and less apart from the others. The word exec: an interpreter of Python or Node.js is executed before and waits, for one use, in a template or a program per call. See below.", readWarm},
			{"limits", limits, false, "see there", "Bounds of the whole process tree of an instance.", func(r *reader, v value, s *Service) {
				mapping(r, v, limits, limitKeys(), &s.Limits)
			}},
			{"restart", aRestart, false, "always", "What happens when it ends.", readRestart},
			{"healthcheck", aHealth, false, "it is well as long as it responds", "How it is asked whether it is well.", readHealth},
			{"on_unhealthy", onUnhealthy, false, "replace", "What happens to an instance that is unhealthy, or does not respond: replace kills it and starts the next one by restart, stop stops it for good, ignore only shows and records it.", func(r *reader, v value, s *Service) {
				s.OnUnhealthy, _ = r.oneOf(v, onUnhealthy, Replace, Stop, Ignore)
			}},
			{"depends_on", someNames, false, "none", "Services that are ready before it starts, and healthy if they are checked and that is not ignored.", readDependsOn},
			{"stop_grace_period", aTime, false, "10s", "Time between the polite stop and the kill.", func(r *reader, v value, s *Service) {
				s.StopGracePeriod = r.duration(v, aTime, maxDuration)
			}},
		},
		refused: refusedOfServices,
	}
}

func fileKeys() table[File] {
	return table[File]{keys: []key[File]{
		{"from", aPath, true, "", "On the host, from the manifest's directory on. Links are followed once, when the manifest is read.", readFrom},
		{"to", anInsidePath, true, "", "Inside.", func(r *reader, v value, f *File) { f.To = r.target(v) }},
	}, refused: []refusal{
		{"read_only", "files are read-only always", "for storage use volumes"},
	}}
}

func volumeKeys() table[Volume] {
	return table[Volume]{keys: []key[Volume]{
		{"name", aVolumeName, true, "", "Its name in the application. {principal} is replaced by whom the instance runs for.", readVolumeName},
		{"to", anInsidePath, true, "", "Inside.", func(r *reader, v value, o *Volume) { o.To = r.target(v) }},
		{"size", aSizeLimit, false, "64M", "How much fits in: what is more is refused by the kernel where root started the application; elsewhere it is noticed a moment later, which allow_degraded: [disk-quota] must permit.", func(r *reader, v value, o *Volume) {
			o.SizeBytes = r.sizeLimit(v, 64<<10)
		}},
		{"inodes", aCount, false, "one for each 4K, at least 256", "How many files fit in. A volume keeps the number that it was made with.", func(r *reader, v value, o *Volume) {
			o.Inodes = r.inodes(v)
		}},
		{"read_only", aBool, false, "false", "It may not write there.", func(r *reader, v value, o *Volume) {
			o.ReadOnly = r.boolean(v)
		}},
		{"label", aLabel, false, serviceLabel, "Label of what is in it, fixed when it is first made. To write there a service must be at exactly this label; to read, at or above it.", func(r *reader, v value, o *Volume) {
			o.Label = r.label(v)
		}},
	}, refused: []refusal{
		{"type", "a volume is a volume", "for host files use files, for memory tmpfs"},
		{"source", "host directories are not writable from inside", "give the volume a name; for host files use files"},
		{"target", "one word for one idea", "write to"},
	}}
}

func tmpfsKeys() table[Tmpfs] {
	return table[Tmpfs]{keys: []key[Tmpfs]{
		{"to", anInsidePath, true, "", "Inside.", func(r *reader, v value, t *Tmpfs) { t.To = r.target(v) }},
		{"size", aSize, false, "16M", "How much fits in.", func(r *reader, v value, t *Tmpfs) {
			t.SizeBytes = r.size(v, aSize, 4<<10)
		}},
		{"inodes", aCount, false, "one for each 4K, at least 256", "How many files fit in.", func(r *reader, v value, t *Tmpfs) {
			t.Inodes = r.inodes(v)
		}},
	}}
}

func shareKeys() table[Share] {
	return table[Share]{keys: []key[Share]{
		{"name", aName, true, "", "Its name in the application.", func(r *reader, v value, s *Share) {
			s.Name, _ = r.name(v, aName, serviceNames)
		}},
		{"from", aPath, true, "", "The directory, from the manifest's directory on. Links are followed once, when the manifest is read; below it none is.", func(r *reader, v value, s *Share) {
			s.From = r.hostPath(v)
		}},
		{"writable", aBool, false, "false", "Programs may write there, where others than the owner may.", func(r *reader, v value, s *Share) {
			s.Writable = r.boolean(v)
		}},
		{"size", aSizeLimit, false, "64M", "With writable: how much a mounted directory may hold. More is noticed a moment later and ends the instance, which allow_degraded: [disk-quota] must permit.", func(r *reader, v value, s *Share) {
			s.SizeBytes = r.sizeLimit(v, 64<<10)
		}},
		{"label", aLabel, false, publicLabel, "Label of what is in it, as of a volume.", func(r *reader, v value, s *Share) {
			s.Label = r.fixedLabel(v)
		}},
	}}
}

func provideKeys() table[Provide] {
	return table[Provide]{keys: []key[Provide]{
		{"call", aName, true, "", "The method's name.", func(r *reader, v value, p *Provide) {
			p.Call, _ = r.name(v, aName, serviceNames)
		}},
		{"from", someCallers, false, "whoever lists the call among its uses", "All who may call. [] is nobody.", readProvideFrom},
		{"deadline", aTime, false, "30s", "Time for an answer, at most 10m.", func(r *reader, v value, p *Provide) {
			p.Deadline = r.duration(v, aTime, maxDeadline)
		}},
		{"idempotent", aBool, false, "false", "May be repeated on a new instance when the old one died over it.", func(r *reader, v value, p *Provide) {
			p.Idempotent = r.boolean(v)
		}},
		{"request", aLabel, false, serviceLabel, "Label of what is sent in a call.", func(r *reader, v value, p *Provide) {
			p.Request = r.label(v)
		}},
		{"answer", aLabel, false, serviceLabel, "Label of what is answered.", func(r *reader, v value, p *Provide) {
			p.Answer = r.label(v)
		}},
		{"gate", aGate, false, "none", "In a stdio service: makes it a gate, which may let go of what the service owns, and says on which conditions.", readGate},
		{"rate", someRates, false, "no limit", "Of each service that calls, or with per principal of each principal that one runs for.", func(r *reader, v value, p *Provide) {
			readRates(r, v, &p.Rate)
		}},
	}}
}

func useKeys() table[Use] {
	return table[Use]{keys: []key[Use]{
		{"call", aMethod, false, "", "A method of a service.", readUseCall},
		{"spawn", aName, false, "", "A template to start.", readUseSpawn},
		{"connect", aPeer, false, "", "A port of a service; it may be left out if the service has one only.", readUseConnect},
		{"share", aName, false, "", "A share that it may mount while it runs; see into.", readUseShare},
		{"into", aTarget, false, "", "With share, and then it must be written: the service whose instances see what is mounted, or self.", readUseInto},
		{"egress", anEndpoint, false, "", "A TCP port of a machine outside. Inside, its name resolves; an address is reached through the proxy.", readUseEgress},
		{"post", aName, false, "", "A mailbox to send to blindly: it is not told whether the message was received, or dropped because the mailbox was full.", readPost},
		{"put", aName, false, "", "A shared mailbox to send to, and to wait for room in.", readPut},
		{"take", aName, false, "", "A shared mailbox to receive from.", readTake},
		{"out", aFormula, false, "True: none", "With all but share: the privilege that releases what is sent, used each time without a word. It must own it.", func(r *reader, v value, u *Use) {
			u.Out = r.formula(v)
		}},
		{"in", aFormula, false, "True: none", "With all but share: the privilege that vouches for what comes back.", func(r *reader, v value, u *Use) {
			u.In = r.formula(v)
		}},
		{"request", aLabel, false, publicLabel, "With egress: label of what is sent there.", func(r *reader, v value, u *Use) {
			u.Request = r.label(v)
		}},
		{"answer", aLabel, false, publicLabel, "With egress: label of what comes from there.", func(r *reader, v value, u *Use) {
			u.Answer = r.label(v)
		}},
		{"private", aBool, false, "false", "With egress: it may lead to this host, its networks, or other addresses that are not of the Internet.", func(r *reader, v value, u *Use) {
			u.Private = r.boolean(v)
		}},
		{"rate", someRates, false, "see there", "With all but share: what passes, of all its instances together, or of those that run for the same principal.", func(r *reader, v value, u *Use) {
			readRates(r, v, &u.Rate)
		}},
		{"deadline", aTime, false, "that of the port", "With connect, unless it is HTTP: how long what is sent there may lie there unread, at most 10m; see tcp. If both say, the shorter holds.", func(r *reader, v value, u *Use) {
			u.Deadline = r.duration(v, aTime, maxDeadline)
		}},
		{"direct", aBool, false, "false", "With connect, unless it is HTTP: a program that dials with the SDK gets the socket itself, at the kernel's speed, where no label can change at either end, no bytes are counted and there is no deadline. Not of a service with sendfile. See SECURITY.md.", func(r *reader, v value, u *Use) {
			u.Direct = r.boolean(v)
		}},
		{"for", anyoneWord, false, "for whom it runs itself, if for anybody", "With connect, and with share and into: the other service has an instance for each principal, and this one says for each connection and each mount whose is meant. It is believed.", func(r *reader, v value, u *Use) {
			_, u.ForAnyone = r.oneOf(v, anyoneWord, "anyone")
		}},
		{"bound", aBool, false, "false", "With call, in a template: only for instances to which their spawner bound something.", func(r *reader, v value, u *Use) {
			u.Bound = r.boolean(v)
		}},
	}}
}

func limitKeys() table[Limits] {
	return table[Limits]{keys: []key[Limits]{
		{"memory", aSizeLimit, false, "256M", "Memory of all its processes.", func(r *reader, v value, l *Limits) {
			l.Memory = r.sizeLimit(v, 1<<20)
		}},
		{"pids", aCountLimit, false, "64", "Processes and threads.", func(r *reader, v value, l *Limits) {
			l.Pids = r.countLimit(v, 1<<22)
		}},
		{"cpus", aShareLimit, false, "1", "Cores at a time.", func(r *reader, v value, l *Limits) {
			l.CPUs = r.shareLimit(v)
		}},
		{"cpu", aTimeLimit, false, "unlimited; 1m for a template or stdio", "Processor time in all.", func(r *reader, v value, l *Limits) {
			l.CPU = r.timeLimit(v)
		}},
		{"wall", aTimeLimit, false, "unlimited; 1m for a template or stdio", "Time since the start.", func(r *reader, v value, l *Limits) {
			l.Wall = r.timeLimit(v)
		}},
		{"output", aSizeLimit, false, "1M", "What it writes to standard output and error, where that is captured.", func(r *reader, v value, l *Limits) {
			l.Output = r.sizeLimit(v, 1)
		}},
		{"files", aCountLimit, false, "1024", "Open files of a process.", func(r *reader, v value, l *Limits) {
			l.Files = r.countLimit(v, 1<<20)
		}},
		{"file_size", aSizeLimit, false, "64M", "Size of any file it writes.", func(r *reader, v value, l *Limits) {
			l.FileSize = r.sizeLimit(v, 1)
		}},
		{"tmp", aSize, false, "16M", "Size of /tmp, and of /dev/shm.", func(r *reader, v value, l *Limits) {
			l.Tmp = r.size(v, aSize, 4<<10)
		}},
		{"inotify", aCount, false, "0", "Instances of inotify(7), by which a program is told when a file changes, at most 128, with 1024 watches for each. Without, the calls are those of a kernel that has none (ENOSYS): tail -f looks now and then instead; fs.watch of Node.js (not fs.watchFile) and the watches of Java and GLib fail. What the host lets its user have (`fs.inotify.max_user_instances`, mostly 128) all environments have together.", func(r *reader, v value, l *Limits) {
			l.Inotify = r.integer(v, aCount, 0, 128)
		}},
	}}
}

func restartKeys() table[Restart] {
	return table[Restart]{keys: []key[Restart]{
		{"policy", aPolicy, false, "always", "When it is started again.", readPolicy},
		{"intensity", aCount, false, "5", "So many restarts within period, and it is broken.", func(r *reader, v value, s *Restart) {
			s.Intensity = r.integer(v, aCount, 1, 1000)
		}},
		{"period", aTime, false, "1m", "See intensity.", func(r *reader, v value, s *Restart) {
			s.Period = r.duration(v, aTime, maxDuration)
		}},
		{"backoff", aTime, false, "100ms", "Wait before the second restart within period; doubled for each further one. The first is at once, if the service had become ready.", func(r *reader, v value, s *Restart) {
			s.Backoff = r.duration(v, aTime, maxDuration)
		}},
		{"backoff_max", aTime, false, "10s", "The longest wait.", func(r *reader, v value, s *Restart) {
			s.BackoffMax = r.duration(v, aTime, maxDuration)
		}},
	}}
}
