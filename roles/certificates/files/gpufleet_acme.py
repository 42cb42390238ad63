# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the certificate of the ingress: obtain it by ACME (RFC 8555), renew it, bring it to the ingress nodes.

    gpufleet-acme [--look | --again | --withdraw]

    --look      say what is due and how the last attempt ended, and do nothing
    --again     bring the certificate to the ingress nodes even if they had it: one of them has lost it
    --withdraw  take the delivery back from the Swarm; another host, or another mode, takes over

Written by the role certificates of gpufleet.swarm. It runs on one manager of the fleet, by a timer and at the
end of each deployment, and does what is due. It prints a JSON object and ends with 1 when something could not
be done; what is served then stays as it is. The ACME client is lego 4; a global job of the Swarm carries the
certificate to the nodes.
"""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

SETTINGS = Path("/etc/gpufleet/acme")
STATE = Path("/var/lib/gpufleet/acme")
SERVICE = "gpufleet-certificates"
LABEL = "gpufleet.certificate"
INGRESS = "ingress_traefik"
PROBE = "/.well-known/acme-challenge/gpufleet"
ISSUE_SECONDS = 600
ROUTE_SECONDS = 20
DELIVERY_SECONDS = 90
# The key and the chain first, then the one file that names them: Traefik takes note of that write.
COURIER = """set -eu; umask 077; cd /ingress
for part in crt key; do
  cat "/run/secrets/$part" > "$NAME.$part.new"
  mv "$NAME.$part.new" "$NAME.$part"
done
printf '%s\\n' "$TLS" > tls.yml.new
mv tls.yml.new tls.yml
for old in ingress-*; do case "$old" in "$NAME".*) ;; *) rm -f "$old" ;; esac; done"""


class Failed(Exception):
    """Something that is due could not be done; the text says what."""


def run(words, text="", env=None, seconds=60):
    """Run a program; return its exit code and all it said."""
    try:
        done = subprocess.run(
            words, input=text, env=env, timeout=seconds, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired:
        return 124, f"{words[0]} did not end within {seconds} s"
    except OSError as error:
        return 127, f"{words[0]}: {error.strerror}"
    return done.returncode, done.stdout


def docker(*words, text=""):
    """Run the Engine's own client and return what it said, or fail in its words."""
    code, said = run(["docker", *words], text)
    if code:
        raise Failed(f"docker {words[0]} {words[1]}: {' '.join(said.split())}")
    return said


def write(path, content):
    """Write JSON to a file that only root reads, all of it or nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read(path):
    """Return what write() wrote, or None."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def digest(*parts):
    """Return a short hash of some texts, the form in which names carry one."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def ends(issued):
    return datetime.fromisoformat(issued["ends"])


def fits(settings, issued, now):
    """Return whether a certificate is one that the settings ask for, and is valid."""
    return (issued is not None and issued["directory"] == settings["directory"]
            and set(issued["names"]) == set(settings["names"]) and ends(issued) > now)


def due(settings, issued, now):
    """Return why a certificate has to be obtained, as sentences; none when the present one can stay."""
    if issued is None:
        return ["there is none"]
    reasons = []
    if issued["directory"] != settings["directory"]:
        reasons.append(f"it comes from {issued['directory']}")
    if set(issued["names"]) != set(settings["names"]):
        reasons.append(f"it was asked for {', '.join(sorted(issued['names']))}")
    left, least = (ends(issued) - now) // timedelta(days=1), settings["renew_before_days"]
    if left < least:
        reasons.append(f"it ends {ends(issued).date()}, in {left} days, and {least} are wanted")
    return reasons


def lego(settings, directory, folder):
    """Return the words that make lego 4 obtain a certificate from a directory."""
    words = ["lego", "--accept-tos", "--email", settings["email"], "--server", directory]
    words += ["--path", str(folder), "--key-type", "ec256"]
    for name in settings["names"]:
        words += ["--domains", name]
    if settings["challenge"] == "http-01":
        words += ["--http", "--http.port", settings["listen"]]
    else:
        words += ["--dns", settings["provider"]]
        for resolver in settings["resolvers"]:
            words += ["--dns.resolvers", resolver]
        if not settings["check_dns"]:
            words.append("--dns.disable-cp")
    return [*words, "run"]


def reason(said):
    """Return what of lego's output says why it failed, without time stamps and on one line."""
    # A panic of lego ends with the way to it, of which the first line alone says why.
    said = said.partition("\ngoroutine ")[0]
    lines = [re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith("[INFO]")]
    starts = [at for at, line in enumerate(lines) if line.lower().startswith(("could not", "error"))]
    return " ".join(" ".join(lines[starts[0] if starts else -1:]).split())[:1000]


def obtain(settings, directory):
    """Obtain a certificate from an ACME server and return it with its key and its end."""
    folder = STATE / digest(directory)
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(STATE)}
    env.update(read(SETTINGS / "dns.json") or {})
    if settings["authorities"]:
        env["LEGO_CA_CERTIFICATES"] = settings["authorities"]
    for kept in (folder / "certificates").glob("*"):
        kept.unlink()
    words = lego(settings, directory, folder)
    code, said = run(words, env=env, seconds=ISSUE_SECONDS)
    if code and "accountDoesNotExist" in said:
        # A server that was set up anew knows the account no longer. Its key stays, and is registered again.
        for account in folder.glob("accounts/*/*/account.json"):
            account.unlink()
        code, said = run(words, env=env, seconds=ISSUE_SECONDS)
    if code:
        raise Failed(f"{directory}: {reason(said)}")
    chain = next(one for one in (folder / "certificates").glob("*.crt") if not one.stem.endswith(".issuer"))
    certificate, key = (one.read_text(encoding="utf-8") for one in (chain, chain.with_suffix(".key")))
    code, said = run(["openssl", "x509", "-noout", "-enddate"], text=certificate)
    if code:
        raise Failed(f"{directory}: what it issued is no certificate: {' '.join(said.split())}")
    end = datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    return {
        "directory": directory, "names": settings["names"], "ends": end.isoformat(),
        "certificate": certificate, "key": key,
    }


class Unchanged(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as it is: it says that the challenge is not led here."""

    def redirect_request(self, *_arguments):
        return None


def status(node, host):
    """Return the status with which an ingress node answers a challenge by plain HTTP; None for no answer."""
    request = urllib.request.Request(f"http://{node}{PROBE}", headers={"Host": host})
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Unchanged())
        with opener.open(request, timeout=5) as answered:
            return answered.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def closed(settings, seconds=ROUTE_SECONDS, ask=status, pause=time.sleep):
    """Wait until every ingress node leads the challenge here; return, in words, those that do not.

    Nothing listens here yet, so a node that leads it answers 502 or 504; others redirect to HTTPS.
    """
    deadline, left = time.monotonic() + seconds, dict.fromkeys(settings["nodes"])
    while True:
        left = {node: ask(node, settings["names"][0]) for node in left}
        left = {node: found for node, found in left.items() if found not in (502, 504)}
        if not left or time.monotonic() > deadline:
            said = {node: f"status {found}" if found else "no answer" for node, found in left.items()}
            return [f"ingress node {node} does not lead the challenge here: found {found} by plain HTTP"
                    for node, found in said.items()]
        pause(0.5)


def renew(settings):
    """Obtain the certificate that is due, after a trial if these settings have not passed one yet."""
    away = closed(settings) if settings["challenge"] == "http-01" else []
    tried = ("names", "directory", "trial", "challenge", "provider")
    proof = digest(json.dumps([settings[key] for key in tried]))
    try:
        if settings["trial"] and read(STATE / "proven.json") != proof:
            obtain(settings, settings["trial"])
            write(STATE / "proven.json", proof)
        issued = obtain(settings, settings["directory"])
    except Failed as error:
        raise Failed("; ".join([str(error), *away])) from None
    write(STATE / "issued.json", issued)
    return issued


def courier(settings, issued, tag):
    """Return the words that make the global job of the Swarm which carries a certificate."""
    user, name = str(settings["user"]), f"ingress-{digest(issued['certificate'])}"
    words = ["service", "create", "--detach", "--quiet", "--name", SERVICE, "--label", f"{LABEL}={tag}"]
    words += ["--mode", "global-job", "--constraint", "node.labels.gpufleet.ingress==true"]
    # The name alone: a node that has the image needs no registry.
    words += ["--no-resolve-image"]
    words += ["--user", f"{user}:{user}", "--cap-drop", "ALL", "--read-only", "--no-healthcheck"]
    # A node that cannot have the image now gets it later.
    words += ["--restart-condition", "on-failure", "--restart-delay", "10s"]
    words += ["--mount", f"type=bind,source={settings['folder']},target=/ingress"]
    for part in ("crt", "key"):
        source = f"source={SERVICE}-{tag}-{part}"
        words += ["--secret", f"{source},target={part},uid={user},gid={user},mode=0400"]
    words += ["--env", f"NAME={name}", "--env", f"TLS={settings['tls'].replace('@NAME@', name).rstrip()}"]
    return [*words, "--entrypoint", "sh", settings["image"], "-c", COURIER]


def delivered():
    """Return the tag of the certificate that the Swarm carries, or None."""
    wanted = '{{index .Spec.Labels "' + LABEL + '"}}'
    code, said = run(["docker", "service", "inspect", "--format", wanted, SERVICE])
    return None if code else said.strip()


def secrets():
    """Return the names of the secrets of all deliveries."""
    return docker("secret", "ls", "--filter", f"label={LABEL}", "--format", "{{.Name}}").split()


def withdraw(keep=()):
    """Take the delivery out of the Swarm; its secrets, too, but those to keep."""
    if delivered() is not None:
        docker("service", "rm", SERVICE)
    for name in secrets():
        if name not in keep:
            # The Engine lets go of a secret a while after its service; one that is held goes the next time.
            run(["docker", "secret", "rm", name])


def deliver(settings, issued, again):
    """Bring the certificate to every ingress node; return whether anything had to be done for it.

    The service stays when its tasks are done: a node that was down, or becomes one of the ingress, has its
    turn then.
    """
    tag = digest(issued["certificate"], settings["tls"], settings["image"])
    if delivered() == tag and not again:
        return False
    content = {f"{SERVICE}-{tag}-crt": issued["certificate"], f"{SERVICE}-{tag}-key": issued["key"]}
    there = secrets()
    for name, text in content.items():
        if name not in there:
            docker("secret", "create", "--label", f"{LABEL}={tag}", name, "-", text=text)
    withdraw(keep=content)
    docker(*courier(settings, issued, tag))
    await_tasks()
    return True


def await_tasks(seconds=DELIVERY_SECONDS, pause=time.sleep):
    """Wait until every ingress node that is up has the certificate."""
    deadline = time.monotonic() + seconds
    listing = ("node", "ls", "--filter", "node.label=gpufleet.ingress=true", "--format",
               "{{.Hostname}}\t{{.Status}}")
    states = ("service", "ps", "--no-trunc", "--format", "{{.Node}}\t{{.CurrentState}}\t{{.Error}}", SERVICE)
    while True:
        wanted = {line.split("\t")[0] for line in docker(*listing).splitlines() if line.endswith("\tReady")}
        rows = [(line + "\t\t").split("\t")[:3] for line in docker(*states).splitlines()]
        missing = wanted - {node for node, state, _error in rows if state.startswith("Complete")}
        if not missing:
            return
        if time.monotonic() > deadline:
            errors = {node: error for node, _state, error in reversed(rows) if error}
            told = [f"{node} ({errors.get(node, 'its task has not ended')})" for node in sorted(missing)]
            raise Failed(f"the certificate did not reach {', '.join(told)}; the Swarm tries again")
        pause(0.5)


def answer(outcome, changed=False, message="", issued=None):
    """Return what is printed. outcome: kept, due, obtained, waiting or failed."""
    return {
        "outcome": outcome, "changed": changed, "message": message,
        "certificate": issued["certificate"] if issued else "", "ends": issued["ends"] if issued else None,
    }


def waits(settings):
    """Return whether nothing can be obtained yet: a challenge by http-01 is led here by the ingress."""
    return settings["challenge"] == "http-01" and run(["docker", "service", "inspect", INGRESS])[0] != 0


def waiting(issued):
    told = "the ingress, which leads the challenge here, is not there yet"
    return answer("waiting", message=told, issued=issued)


def look(settings, issued, now):
    """Say what is due, and how the last attempt ended."""
    reasons = due(settings, issued, now)
    if reasons and waits(settings):
        result = waiting(issued)
    else:
        result = answer("due" if reasons else "kept", bool(reasons), "; ".join(reasons), issued)
    return {**result, "last": read(STATE / "last.json")}


def work(settings, issued, now, again):
    """Do what is due and return what is printed."""
    reasons, problems, outcome = due(settings, issued, now), [], "kept"
    if reasons and waits(settings):
        return waiting(issued)
    if reasons:
        try:
            issued, outcome = renew(settings), "obtained"
        except Failed as error:
            problems += [*reasons, str(error)]
    changed = outcome == "obtained"
    try:
        # What was made for other settings, or has ended, does not replace what is served.
        if fits(settings, issued, now) and deliver(settings, issued, again):
            changed = True
    except Failed as error:
        changed = True
        problems.append(str(error))
    return answer("failed" if problems else outcome, changed, "; ".join(problems), issued)


def main(arguments):
    """Run as the command line says and return the exit code."""
    os.environ["DOCKER_CONFIG"] = str(STATE / "docker")
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.now(UTC)
    with open(STATE / "lock", "w", encoding="utf-8") as lock:
        # The timer and a deployment do not meet.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "--withdraw" in arguments:
            # A host that has left the Swarm, or is no manager any more, has nothing to take back.
            manages = run(["docker", "info", "--format", "{{.Swarm.ControlAvailable}}"])[1].strip() == "true"
            if manages:
                withdraw()
            result = answer("kept", manages)
        else:
            settings, issued = read(SETTINGS / "settings.json"), read(STATE / "issued.json")
            if settings is None:
                raise SystemExit(f"Cannot read {SETTINGS}/settings.json, wanted what the role writes there.")
            if "--look" in arguments:
                result = look(settings, issued, now)
            else:
                result = work(settings, issued, now, "--again" in arguments)
                last = {key: result[key] for key in ("outcome", "message")}
                write(STATE / "last.json", {"time": now.isoformat(timespec="seconds"), **last})
    print(json.dumps(result))
    return 1 if result["outcome"] == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
