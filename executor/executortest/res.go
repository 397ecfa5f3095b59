package executortest

// resourceCases are bombs, floods and what is left behind.
var resourceCases []Case
