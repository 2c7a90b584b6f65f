package deployment

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// costRow is a row of the guide's tables of costs: what, factors with their units, dollars.
type costRow struct {
	what    string
	factors []float64
	dollars float64
}

var (
	tableRow = regexp.MustCompile(`^\|\s*([^|]+?)\s*\|\s*([^|]*?)\s*\|\s*([\d.]+)\s*\|$`)
	factor   = regexp.MustCompile(`^([\d.]+)(?: (million|[A-Za-z]+))?$`)
)

// costs reads the tables below the bold words that begin each.
func costs(t *testing.T) map[string][]costRow {
	t.Helper()
	text, err := os.ReadFile("../../../terraform/README.md")
	if err != nil {
		t.Fatal(err)
	}
	tables, title := map[string][]costRow{}, ""
	for _, line := range strings.Split(string(text), "\n") {
		if bold, ok := strings.CutPrefix(line, "**"); ok {
			title, _, _ = strings.Cut(bold, "**")
			continue
		}
		cells := tableRow.FindStringSubmatch(line)
		if cells == nil || title == "" {
			continue
		}
		row := costRow{what: cells[1]}
		row.dollars, err = strconv.ParseFloat(cells[3], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, part := range strings.FieldsFunc(cells[2], func(r rune) bool { return r == '×' }) {
			f := factor.FindStringSubmatch(strings.TrimSpace(part))
			if f == nil {
				t.Fatalf("%s: %q is no factor", line, part)
			}
			n, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			row.factors = append(row.factors, n)
		}
		tables[title] = append(tables[title], row)
	}
	return tables
}

// Every row is the product that it says, to the cent, and every table adds up.
func TestTheCostsAddUp(t *testing.T) {
	t.Parallel()
	tables := costs(t)
	if len(tables) != 3 {
		t.Errorf("there are %d tables of costs", len(tables))
	}
	for title, rows := range tables {
		sum := 0.0
		for _, row := range rows[:len(rows)-1] {
			product := 1.0
			for _, f := range row.factors {
				product *= f
			}
			if len(row.factors) < 2 || math.Abs(product-row.dollars) > 0.0051 {
				t.Errorf("%s: %s is %.4f, not %.2f", title, row.what, product, row.dollars)
			}
			sum += row.dollars
		}
		if last := rows[len(rows)-1]; last.what != "together" || math.Abs(sum-last.dollars) > 0.001 {
			t.Errorf("%s: together %.2f, not %s %.2f", title, sum, last.what, last.dollars)
		}
	}
}

// The quantities are those that terraform deploys.
func TestTheCostsAreOfWhatIsDeployed(t *testing.T) {
	t.Parallel()
	tables := costs(t)
	for environment, title := range map[string]string{
		"dev": "A month of dev in which nothing happens", "production": "A month of production in which nothing happens",
	} {
		d, err := Load(os.DirFS("../../.."), environment)
		if err != nil {
			t.Fatal(err)
		}
		rows := map[string][]float64{}
		for _, row := range tables[title] {
			rows[row.what] = row.factors
		}
		begins := func(what string, want ...float64) {
			t.Helper()
			got := rows[what]
			if len(got) < len(want) {
				t.Errorf("%s: there is no %q, or it is not %v", environment, what, want)
				return
			}
			for i, n := range want {
				if got[i] != n {
					t.Errorf("%s: %s is of %v, and terraform deploys %v", environment, what, got, want)
				}
			}
		}
		database := only(t, d, "google_sql_database_instance")
		var cpus, megabytes float64
		if _, err := fmt.Sscanf(database.Text("settings", 0, "tier"), "db-custom-%g-%g", &cpus, &megabytes); err != nil {
			t.Fatalf("%s: the database's machine: %v", environment, err)
		}
		disk, _ := database.At("settings", 0, "disk_size").(int64)
		if database.Text("settings", 0, "availability_type") == "REGIONAL" {
			begins("Cloud SQL, CPU, and the standby's", 2, cpus)
			begins("Cloud SQL, memory", 2, megabytes/1024)
			begins("Cloud SQL, disk", 2, float64(disk))
		} else {
			begins("Cloud SQL, CPU", cpus)
			begins("Cloud SQL, memory", megabytes/1024)
			begins("Cloud SQL, disk", float64(disk))
		}
		addresses := number(t, d, "google_compute_address")
		if addresses == 1 {
			begins("address for NAT", 1)
		} else {
			begins("addresses for NAT", addresses)
		}
		begins("Cloud Scheduler, beyond three free jobs", number(t, d, "google_cloud_scheduler_job")-3)
		begins("Secret Manager", number(t, d, "google_secret_manager_secret"))
		begins("Cloud KMS", number(t, d, "google_kms_crypto_key"))
		waiting, fixed := waitingInstances(t, d)
		if waiting > 0 {
			begins("instances that wait", waiting)
			begins("NAT, for those instances", fixed)
			begins("probes of that instance and of those that wait", 1+waiting, probes(t))
		} else {
			begins("probes of the instance that sweep keeps", 1, probes(t))
		}
		if rules := number(t, d, "google_compute_security_policy"); rules > 0 {
			listed, _ := only(t, d, "google_compute_security_policy").At("rule").([]any)
			begins("Cloud Armor, policy", rules)
			begins("Cloud Armor, rules", float64(len(listed)))
			begins("load balancer, forwarding rule", number(t, d, "google_compute_global_forwarding_rule"))
		}
	}
}

// waitingInstances counts the instances that are kept, and those of them behind NAT.
func waitingInstances(t *testing.T, d *Deployment) (all, fixed float64) {
	t.Helper()
	calls, err := d.Calls()
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		n, _ := call.At("min_instances").(int64)
		all += float64(n)
		if call.Text("egress") == "fixed" {
			fixed += float64(n)
		}
	}
	return all, fixed
}

// probes counts how often an instance is probed in a month.
func probes(t *testing.T) (n float64) {
	t.Helper()
	given := map[string]any{"readiness_probe": true, "variables": map[string]string{}, "secrets": map[string]string{}, "invokers": map[string]string{}}
	m, err := Read(os.DirFS("../../.."), "terraform/modules/function", given)
	if err != nil {
		t.Fatal(err)
	}
	services, err := m.Resources("google_cloud_run_v2_service")
	if err != nil || len(services) != 1 {
		t.Fatalf("%d services, %v", len(services), err)
	}
	for _, probe := range []string{"liveness_probe", "readiness_probe"} {
		period, ok := services[0].At("template", 0, "containers", 0, probe, 0, "period_seconds").(int64)
		if !ok {
			t.Fatalf("there is no %s", probe)
		}
		n += 730 * 3600 / float64(period)
	}
	return n
}

func number(t *testing.T, d *Deployment, kind string) float64 {
	t.Helper()
	all, err := d.Resources(kind)
	if err != nil {
		t.Fatal(err)
	}
	return float64(len(all))
}

func only(t *testing.T, d *Deployment, kind string) Instance {
	t.Helper()
	all, err := d.Resources(kind)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d of %s, %v", len(all), kind, err)
	}
	return all[0]
}
