package stack

import (
	"maps"
	"strings"

	"github.com/tollgate/tollgate/functions/applywebhook"
	"github.com/tollgate/tollgate/functions/cancelpayment"
	"github.com/tollgate/tollgate/functions/capturepayment"
	"github.com/tollgate/tollgate/functions/createpayment"
	"github.com/tollgate/tollgate/functions/deliverwebhook"
	"github.com/tollgate/tollgate/functions/getpayment"
	"github.com/tollgate/tollgate/functions/ingestwebhook"
	"github.com/tollgate/tollgate/functions/listdisputes"
	"github.com/tollgate/tollgate/functions/listpayments"
	"github.com/tollgate/tollgate/functions/listsettlements"
	"github.com/tollgate/tollgate/functions/notifymerchant"
	"github.com/tollgate/tollgate/functions/reconcile"
	"github.com/tollgate/tollgate/functions/refundpayment"
	"github.com/tollgate/tollgate/functions/resumepayment"
	"github.com/tollgate/tollgate/functions/settle"
	"github.com/tollgate/tollgate/functions/sweep"
	"github.com/tollgate/tollgate/functions/verifyaudit"
	"github.com/tollgate/tollgate/functions/webhookadmin"
	"github.com/tollgate/tollgate/shared/api"
)

// The identities with which functions are called, as terraform names them.
const (
	gatewayAccount   = "call-from-gateway@" + project + ".iam.gserviceaccount.com"
	pubsubAccount    = "call-from-pubsub@" + project + ".iam.gserviceaccount.com"
	tasksAccount     = "call-from-tasks@" + project + ".iam.gserviceaccount.com"
	schedulerAccount = "call-from-scheduler@" + project + ".iam.gserviceaccount.com"
)

// function is one deployed function: what builds it, and the groups of variables that it is given. A function has no
// secret that it does not use.
type function struct {
	name   string
	build  api.Build
	groups []group
}

var functions = []function{
	{"createpayment", createpayment.Build, []group{database, providerCalls, topics, resumeTasks, behindGateway}},
	{"getpayment", getpayment.Build, []group{database, behindGateway}},
	{"listpayments", listpayments.Build, []group{database, behindGateway}},
	{"capturepayment", capturepayment.Build, []group{database, providerCalls, topics, resumeTasks, behindGateway}},
	{"cancelpayment", cancelpayment.Build, []group{database, providerCalls, topics, resumeTasks, behindGateway}},
	{"refundpayment", refundpayment.Build, []group{database, providerCalls, topics, resumeTasks, behindGateway}},
	{"listdisputes", listdisputes.Build, []group{database, behindGateway}},
	{"listsettlements", listsettlements.Build, []group{database, behindGateway}},
	{"webhookadmin", webhookadmin.Build, []group{database, deliverTasks, retries, signing, behindGateway}},
	{"ingestwebhook", ingestwebhook.Build, []group{database, providerWebhooks, topics}},
	{"applywebhook", applywebhook.Build, []group{database, providerCalls, topics, resumeTasks, calledBy(pubsubAccount)}},
	{"notifymerchant", notifymerchant.Build, []group{database, deliverTasks, retries, calledBy(pubsubAccount)}},
	{"deliverwebhook", deliverwebhook.Build, []group{database, deliverTasks, retries, signing, calledBy(tasksAccount)}},
	{"resumepayment", resumepayment.Build, []group{database, providerCalls, topics, resumeTasks, calledBy(tasksAccount)}},
	{"settle", settle.Build, []group{database, enabledProviders, settleTasks, calledBy(schedulerAccount, tasksAccount)}},
	{"reconcile", reconcile.Build, []group{database, hurry, providerCalls, topics, resumeTasks, calledBy(schedulerAccount)}},
	{"verifyaudit", verifyaudit.Build, []group{database, seals, calledBy(schedulerAccount)}},
	{"sweep", sweep.Build, []group{database, topics, resumeTasks, deliverTasks, settleTasks, calledBy(schedulerAccount)}},
}

// Functions lists the functions by name, as their folders are called.
func Functions() []string {
	names := make([]string, len(functions))
	for i, f := range functions {
		names[i] = f.name
	}
	return names
}

// group is variables that go together, for the function of the name.
type group func(c HostConfig, name string) map[string]string

func database(c HostConfig, name string) map[string]string {
	return map[string]string{"DATABASE_URL": c.Databases[name], "DATABASE_POOL_MAX": "4"}
}

func providerCalls(c HostConfig, _ string) map[string]string {
	return c.Calls
}

// hurry has reconciliation ask the simulators as often as it may: it waits by the machine's time, which the clock does not
// move.
func hurry(HostConfig, string) map[string]string {
	return map[string]string{"RECONCILE_RATE": "100"}
}

// enabledProviders names them, to who needs no more of them.
func enabledProviders(c HostConfig, _ string) map[string]string {
	return map[string]string{"PROVIDERS": c.Calls["PROVIDERS"]}
}

func providerWebhooks(c HostConfig, _ string) map[string]string {
	return c.Signatures
}

func topics(HostConfig, string) map[string]string {
	return map[string]string{
		"PUBSUB_PROJECT": project, "PAYMENT_EVENTS_TOPIC": paymentEvents, "PROVIDER_EVENTS_TOPIC": providerEvents,
	}
}

func resumeTasks(c HostConfig, _ string) map[string]string {
	return map[string]string{
		"TASKS_LOCATION": location, "TASKS_SERVICE_ACCOUNT": tasksAccount, "RESUME_URL": c.URL("resumepayment"),
	}
}

func deliverTasks(c HostConfig, _ string) map[string]string {
	return map[string]string{
		"TASKS_LOCATION": location, "TASKS_SERVICE_ACCOUNT": tasksAccount, "DELIVER_URL": c.URL("deliverwebhook"),
	}
}

func settleTasks(c HostConfig, _ string) map[string]string {
	return map[string]string{
		"TASKS_LOCATION": location, "TASKS_SERVICE_ACCOUNT": tasksAccount, "SETTLE_URL": c.URL("settle"),
	}
}

func seals(c HostConfig, _ string) map[string]string {
	return map[string]string{"AUDIT_SEALS": c.AuditSeals}
}

func retries(c HostConfig, _ string) map[string]string {
	if c.WebhookSchedule == "" {
		return nil
	}
	return map[string]string{"WEBHOOK_SCHEDULE": c.WebhookSchedule}
}

func signing(c HostConfig, _ string) map[string]string {
	return map[string]string{"WEBHOOK_SEALING_KEY": c.SealingKey, "WEBHOOK_ALLOW_LOCAL": "true"}
}

func behindGateway(c HostConfig, name string) map[string]string {
	v := identity(c, name)
	v["GATEWAY_CALLERS"] = gatewayAccount
	return v
}

func calledBy(accounts ...string) group {
	return func(c HostConfig, name string) map[string]string {
		v := identity(c, name)
		v["OIDC_CALLERS"] = strings.Join(accounts, ",")
		return v
	}
}

func identity(c HostConfig, name string) map[string]string {
	return map[string]string{"OIDC_ISSUER": c.IssuerURL, "OIDC_JWKS_URL": c.IssuerURL + "/oauth2/v3/certs", "OIDC_AUDIENCE": c.URL(name)}
}

// variables is the function's environment, all of it.
func (f function) variables(c HostConfig) map[string]string {
	all := map[string]string{}
	for _, g := range f.groups {
		maps.Copy(all, g(c, f.name))
	}
	return all
}
