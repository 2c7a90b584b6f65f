// Package deployment reads what terraform/ deploys, for tests that hold it against the
// code: its tables (functions, jobs, queues, topics), what each function is given, and any
// other resource. It evaluates the files as far as that is possible without terraform,
// without a provider and without a cloud, in well under a second.
//
// It owns nothing, and is never linked into a deployed function. It refuses what it can't
// parse, and a column of a table that it does not know: a misspelt one would count as not
// set. It is no judge of what terraform accepts; .ci/terraform asks terraform itself.
package deployment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Function is a row of local.functions. terraform/functions.tf says what the columns mean.
type Function struct {
	EntryPoint string   `json:"entry_point"`
	Timeout    int      `json:"timeout"` // seconds
	Instances  int      `json:"instances"`
	Min        int      `json:"min"`
	Egress     string   `json:"egress"`
	Callers    []string `json:"callers"`
	Route      string   `json:"route"`
	Topic      string   `json:"topic"`
	Queue      string   `json:"queue"`
	Uses       []string `json:"uses"`
}

// Job is a row of local.jobs.
type Job struct {
	Function string `json:"function"`
	Schedule string `json:"schedule"`
	TimeZone string `json:"time_zone"`
	Retries  int    `json:"retries"`
}

// Queue is a row of local.queues. Backoff is in seconds.
type Queue struct {
	PerSecond  float64 `json:"per_second"`
	Concurrent int     `json:"concurrent"`
	Attempts   int     `json:"attempts"`
	Backoff    int     `json:"backoff"`
}

// Connections is how many connections to the database are reckoned with.
type Connections struct {
	Pool      int `json:"pool"`      // of an instance
	Revisions int `json:"revisions"` // that may run side by side
	Reserve   int `json:"reserve"`   // for people and migrations
}

// Given is what a deployed function gets from terraform.
type Given struct {
	Variables map[string]string
	Secrets   map[string]string // the id of the secret, by the variable
	Invokers  []string          // who may call it, as callers of the table
}

// Deployment is one environment, with every function deployed.
type Deployment struct {
	*Module

	Functions   map[string]Function
	Jobs        map[string]Job
	Queues      map[string]Queue
	Topics      []string
	URLs        map[string]string
	Connections Connections
	Emails      map[string]string // of the accounts that call functions, by caller
	Members     map[string]string // the accounts that functions and jobs run as, as grants name them
	Given       map[string]Given  // by function
}

// Project is the id of the project that Load pretends to deploy to.
const Project = "a-project"

// Load reads the deployment of an environment from the repository's files, with all
// providers enabled, and values made up for what is not in the files.
func Load(files fs.FS, environment string) (*Deployment, error) {
	const folder = "terraform"
	given := map[string]any{
		"project": Project, "project_number": "123456789012", "domain": "api.example.com",
		"paypal_client_id": "paypal-client", "paypal_webhook_id": "paypal-webhook",
		"stripe_account": "another", "paypal_account": "another", "gocardless_account": "another",
	}
	tfvars := folder + "/environments/" + environment + ".tfvars"
	// The images are of the functions, which are read to know which.
	m, err := Read(files, folder, given, tfvars)
	if err != nil {
		return nil, err
	}
	d := &Deployment{Functions: map[string]Function{}}
	if err := m.Local("functions", &d.Functions); err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, name := range append(slices.Collect(maps.Keys(d.Functions)), "migrate", "ops") {
		images[name] = "asia-northeast1-docker.pkg.dev/" + Project + "/tollgate/" + name + "@sha256:" + strings.Repeat("0", 64)
	}
	given["images"] = images
	if d.Module, err = Read(files, folder, given, tfvars); err != nil {
		return nil, err
	}
	err = errors.Join(
		d.Local("jobs", &d.Jobs), d.Local("queues", &d.Queues), d.Local("topics", &d.Topics), d.Local("urls", &d.URLs),
		d.Local("connections", &d.Connections), d.Local("caller_emails", &d.Emails), d.Local("members", &d.Members),
	)
	if err != nil {
		return nil, err
	}
	d.Given, err = d.given()
	return d, err
}

// given reads the calls of modules/function.
func (d *Deployment) given() (map[string]Given, error) {
	calls, err := d.Calls()
	if err != nil {
		return nil, err
	}
	all := map[string]Given{}
	for _, call := range calls {
		if call.Name != "function" {
			continue
		}
		variables, ok := call.At("variables").(map[string]any)
		if !ok {
			return nil, fmt.Errorf("deployment: %s: variables: %v", call.Address, call.At("variables"))
		}
		secrets, ok := call.At("secrets").(map[string]any)
		if !ok {
			return nil, fmt.Errorf("deployment: %s: secrets: %v", call.Address, call.At("secrets"))
		}
		invokers, ok := call.At("invokers").(map[string]any)
		if !ok {
			return nil, fmt.Errorf("deployment: %s: invokers: %v", call.Address, call.At("invokers"))
		}
		g := Given{Variables: map[string]string{}, Secrets: map[string]string{}, Invokers: slices.Sorted(maps.Keys(invokers))}
		for name, value := range variables {
			g.Variables[name] = fmt.Sprint(value)
		}
		for name := range secrets {
			g.Secrets[name] = call.Text("secrets", name, "secret")
		}
		all[call.Key] = g
	}
	return all, nil
}
