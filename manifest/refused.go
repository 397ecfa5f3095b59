package manifest

// Keys of Compose files that would break the model, and those that this
// version does not enforce and so does not accept.
const (
	noNetwork = "an environment has no network, only the connections that are granted"
	noRights  = "every environment runs without capabilities, and nothing can be given back"
	noShared  = "every environment has its own namespaces; sharing one would join it to the host or to another service"
	notYet    = "not part of this version, and a key that does nothing is not accepted"
	onePlace  = "one file is the whole of what is granted"
)

var refusedOfServices = []refusal{
	{"privileged", noRights, "say what it needs with files, volumes and uses"},
	{"cap_add", noRights, "say what it needs with files, volumes and uses"},
	{"cap_drop", noRights, "leave it out: there is nothing to drop"},
	{"security_opt", "the protections cannot be switched off one by one", "see allow_degraded for what the host lacks"},
	{"devices", "an environment has /dev/null, zero, full, random, urandom and tty, and no other device", ""},
	{"device_cgroup_rules", "an environment has /dev/null, zero, full, random, urandom and tty, and no other device", ""},
	{"gpus", "an environment has no devices of the host", ""},
	{"network_mode", noNetwork, "write uses: [{connect: service:port}] here and http or tcp there, or uses: [{egress: host:port}]"},
	{"networks", noNetwork, "write uses: [{connect: service:port}] here and http or tcp there, or uses: [{egress: host:port}]"},
	{"ports", noNetwork, "write http: PORT here, and a route to it in gateway"},
	{"expose", noNetwork, "write http: PORT or tcp: PORT"},
	{"links", noNetwork, "write uses: [{connect: service:port}]; the service's name resolves inside"},
	{"external_links", noNetwork, "write uses: [{connect: service:port}]; the service's name resolves inside"},
	{"extra_hosts", noNetwork, "the names of services it may connect to resolve by themselves"},
	{"dns", noNetwork, "the names it may connect to resolve by themselves; see egress for who is asked"},
	{"mac_address", noNetwork, ""},
	{"hostname", "the host name inside is the service's", ""},
	{"sysctls", "kernel settings reach beyond the environment", ""},
	{"pid", noShared, ""},
	{"ipc", noShared, "let one provide a call and the other use it"},
	{"uts", noShared, ""},
	{"userns_mode", noShared, ""},
	{"cgroup", noShared, ""},
	{"cgroup_parent", noShared, ""},
	{"volumes_from", "storage shared by two services is a way past the monitor", "let one own it and provide calls"},
	{"use_api_socket", "nothing inside may reach what grants access", "grants are lines of this file"},
	{"user", "users inside are the environment's own, and root there is nobody on the host", "leave it out"},
	{"group_add", "users inside are the environment's own, and root there is nobody on the host", "leave it out"},
	{"read_only", "the root is read-only always", "leave it out; write to volumes, tmpfs or /tmp"},
	{"shm_size", "one word for one idea", "write limits: {tmp: …}"},
	{"image", "images come with a later version", "use runtime: host, or files with the programs"},
	{"build", "images come with a later version", "build before, and show the result with files"},
	{"pull_policy", "images come with a later version", ""},
	{"platform", "programs run on this machine's processor", ""},
	{"entrypoint", "one word for one idea", "write the whole of it in command"},
	{"init", "every environment has an init that reaps", "leave it out"},
	{"env_file", onePlace, "write environment"},
	{"extends", onePlace, ""},
	{"secrets", "secrets are " + notYet, "show a file with files, or keep it in a volume"},
	{"configs", "it would be a second word for files", "write files"},
	{"deploy", "one word for one idea", "write limits: {memory: …, cpus: …, pids: …} and restart"},
	{"mem_limit", "one word for one idea", "write limits: {memory: …}"},
	{"memswap_limit", "one word for one idea", "write limits: {memory: …}"},
	{"pids_limit", "one word for one idea", "write limits: {pids: …}"},
	{"cpus", "one word for one idea", "write limits: {cpus: …}"},
	{"cpu_count", "one word for one idea", "write limits: {cpus: …}"},
	{"ulimits", "one word for one idea", "write limits: {files: …, file_size: …}"},
	{"logging", "output is kept by the supervisor, bounded", "read it with: cofferdam logs"},
	{"container_name", "an instance is named after its service", ""},
	{"scale", "several shared instances are " + notYet, ""},
	{"profiles", "profiles are " + notYet, "write a second file"},
	{"labels", "in this file a label says where data may flow", "write label, or a comment"},
	{"rate", "a rate is one of a grant", "write it in a line of uses or provides"},
	{"stop_signal", "the polite stop is SIGTERM always", ""},
	{"stdin_open", "a service has no terminal", "use: cofferdam exec"},
	{"tty", "a service has no terminal", "use: cofferdam exec"},
}
