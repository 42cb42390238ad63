#!/usr/bin/python
# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: stack
short_description: Deploy a Compose file as a Swarm stack, with a plan, and wait until it runs
version_added: "0.1.0"
author:
  - The gpufleet contributors (@gpufleet)
description:
  - Makes the services, networks, configs and secrets of one stack in a Docker Swarm what a Compose file says.
  - Reads first and writes only what differs. A second run writes nothing, so it neither restarts a task nor
    loses the version that a rollback would go back to.
  - Files are read, merged, interpolated and converted on the controller by the action plugin of the same
    name; the host, a manager of the Swarm, needs Python and its standard library. One remote call per stack.
  - Services start in the order of C(depends_on), each wave after the one before has converged. The module
    ends when all services run (healthy, where there is a health check) and all jobs have completed, or fails
    with the task's own error.
  - Configs and secrets carry a hash of their content in their names. Old ones are removed after everything
    has converged, unless a rollback would need them.
  - Each service carries the label C(gpufleet.sent), fingerprints of the fields that were sent, by which the
    next run tells what others changed (RV(drift)).
  - Claims on cards (C(gpus), C(generic_resources), C(x-gpu)) are counted against what the nodes have, with
    those
    of all other services, before anything is written. On nodes with cards a service without a claim sees
    none (C(docs/gpu.md)).
attributes:
  check_mode:
    support: full
    description: Makes the plan and stops. On a host without Docker or without a Swarm it plans against an
      empty Swarm, with a warning.
  diff_mode:
    support: full
    description: The diff is the plan in Compose words. Secrets appear as fingerprints.
  idempotent:
    support: full
    description: C(changed) is true exactly if RV(plan) is not empty, but for O(prove_images), which can end a
      task before it writes.
options:
  name:
    description: Name of the stack, the prefix of its objects and the value of their label
      C(com.docker.stack.namespace).
    type: str
    required: true
  state:
    description:
      - V(present) makes the stack what the Compose file says.
      - V(absent) removes its services, networks, configs and secrets, and returns when tasks and networks are
        gone. Volumes stay, for each node has its own and only that node can remove them; the role
        C(gpufleet.swarm.stack) does so with C(stack_remove_volumes).
      - V(valid) reads and converts the Compose files on the controller, fails if they are wrong, and contacts
        no host. Files of secrets may still be missing. For checks before anything is changed.
    type: str
    choices: [present, absent, valid]
    default: present
  files:
    description: Compose files on the controller, later ones merged over earlier ones.
    type: list
    elements: path
    default: []
  definition:
    description: A Compose file as text or as a mapping, merged over O(files).
    type: raw
  definition_name:
    description: What error messages call O(definition), for example the name of the template it was made
      from.
    type: str
    default: definition
  project_dir:
    description:
      - Folder on the controller against which relative paths in the Compose files are resolved (C(env_file),
        C(file) of configs and secrets). Files encrypted with Ansible Vault are decrypted.
      - By default the folder of the first of O(files), else that of the playbook.
    type: path
  environment:
    description:
      - Variables for C(${NAME}) in the Compose files. Nothing is taken from the environment of any process.
      - A variable without a value and without a default in the file is an error.
    type: dict
    default: {}
  secret_environment:
    description:
      - The same for values that are secret. They appear in no output, plan or diff.
      - They do appear in C(docker service inspect) if the file uses them in a service; use C(secrets) of
        Compose where the image can read a file.
    type: dict
    default: {}
  endpoint_mode:
    description: Endpoint mode of services that state none and publish no port through the routing mesh.
    type: str
    choices: [vip, dnsrr]
    default: vip
  profiles:
    description: Profiles of Compose that are active, V(*) for all. A service with profiles of which none is
      active is left out. Nothing is taken from C(COMPOSE_PROFILES).
    type: list
    elements: str
    default: []
  replicas:
    description:
      - Who says how many replicas a service has that exists already. The file always says it of a new one.
      - V(file) makes it the number in the Compose file.
      - V(keep) leaves the number that runs alone, for services that others scale. RV(drift) tells the field.
      - A service of the Compose file can say it for itself with the key C(x-replicas), which other readers of
        the file skip.
    type: str
    choices: [file, keep]
    default: file
  resolve_image:
    description:
      - When the manager asks the registry which digest a tag stands for, so that all nodes run the same
        image.
      - V(never) sends the tag as it is. A digest that is there already stays as long as the tag is the same.
      - V(changed) pins the images of new services, and of services whose image in the file is another one
        than the one that runs. No running service is touched for it, and a run without a change asks no
        registry.
      - V(always) asks for every image at each run, and updates the services whose tag stands for another
        digest now. The first time this replaces the tasks of every service that has no digest yet; the plan
        says so.
      - Where the registry gives no digest, a service whose image stays the same keeps what it runs, with a
        warning; a new service, or another image, fails the task before anything is written.
      - Images with a digest in the file are taken as they are.
    type: str
    choices: [never, changed, always]
    default: never
  registry_logins:
    description:
      - Logins for the registries of the stack's images. They are used to find out digests and go to the
        Engine with each service that is written, so that every node can get its image.
      - Nothing is read from the files of C(docker login), and nothing is written to them. Swarm keeps the
        login of a service, unreadable, to pull its image again later; another password alone changes no
        service.
    type: list
    elements: dict
    default: []
    suboptions:
      registry:
        description: Its name as in the image, for example V(ghcr.io) or V(registry.example.org:5000).
          V(docker.io) is Docker Hub.
        type: str
        required: true
      username:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password or token.
        type: str
        required: true
  prove_images:
    description:
      - Whether to stop before anything is written if tasks may start, and say which nodes need which images,
        in RV(images). Whoever called then sees to it that they can get them, for instance with
        M(gpufleet.swarm.image_info) on each of them, and calls again with V(never).
      - With V(changed) those services count whose tasks the plan starts, with V(always) all, also without a
        change. The role C(gpufleet.swarm.stack) does this.
      - Then no value of O(secret_environment) may be a part of an image's name, as it would be hidden in
        RV(images).
    type: str
    choices: [never, changed, always]
    default: never
  keep_versions:
    description: How many old versions of each config and secret stay, newest first, besides those that the
      current or the previous version of a service uses. Versions of what the file no longer has all go.
    type: int
    default: 0
  plan_file:
    description:
      - File on the controller that the plan is written to as JSON, for programs such as a pipeline, with mode
        0600; also in check mode, and also if the deploy fails. A relative path starts from the playbook's
        folder.
      - It has RV(plan), RV(counts), RV(objects), RV(drift), RV(translations), RV(ignored), the warnings, the
        name of the stack, C(changed) and C(check_mode), and C(failed) with the message of a deploy that
        failed. It holds no secret that the task was given.
    type: path
  prune:
    description:
      - Remove services of the stack that the Compose file no longer has, and its networks, configs and
        secrets that nothing uses.
      - Only objects with the stack's label are ever removed. Volumes are not.
    type: bool
    default: true
  wait:
    description:
      - Wait for each wave of services. V(false) sends everything at once, without the order of C(depends_on),
        and removes nothing that the services of before may still use.
    type: bool
    default: true
  wait_timeout:
    description: Seconds that the whole deploy may take. A wave with services that load for long gets more if
      their C(start_period) asks for it (times the batches of an update).
    type: int
    default: 600
  on_failure:
    description:
      - What to do about a service that does not converge. The task fails in every case.
      - V(rollback) brings back its version of before, removes it if it is new, and starts no further wave. A
        failed job is removed, since rolling it back would run its old version; it runs at the next deploy.
      - V(pause) leaves it as it is and starts no further wave.
      - V(leave) leaves it as it is and goes on with the services that do not depend on it.
    type: str
    choices: [rollback, pause, leave]
    default: rollback
  docker_host:
    description: Address of the Docker Engine as seen from the host, C(unix:///PATH) or, without TLS,
      C(tcp://HOST:PORT). For an Engine behind C(ssh://) or TLS, make its host the host of the task.
    type: str
    default: unix:///var/run/docker.sock
  desired:
    description: Filled in by the action plugin with what the files say. A task cannot set it.
    type: dict
  secret_values:
    description: Filled in by the action plugin with the values of the secrets. A task cannot set it.
    type: dict
    default: {}
requirements:
  - Docker Engine >= 20.10 (API 1.41) on the host, which is a manager of a Swarm
seealso:
  - module: community.docker.docker_stack
"""

EXAMPLES = r"""
- name: Deploy a stack from a Compose file on the controller
  gpufleet.swarm.stack:
    name: shop
    files: [shop.yml]
    environment:
      TAG: "1.4"

- name: See what a deploy would change
  gpufleet.swarm.stack:
    name: shop
    files: [shop.yml]
    environment:
      TAG: "1.5"
  check_mode: true
  diff: true

- name: Deploy a rendered template whose services read a password
  gpufleet.swarm.stack:
    name: shop
    definition: "{{ lookup('ansible.builtin.template', 'shop.yml.j2') }}"
    definition_name: shop.yml.j2
    secret_environment:
      DB_PASSWORD: "{{ shop_db_password }}"
    on_failure: pause

- name: Deploy the same image on every node, from a registry that wants a login
  gpufleet.swarm.stack:
    name: shop
    files: [shop.yml]
    environment:
      TAG: "1.4"
    resolve_image: changed
    registry_logins:
      - registry: registry.example.org
        username: fleet
        password: "{{ registry_password }}"

- name: Hand the plan to a pipeline, and leave scaling to whoever does it
  gpufleet.swarm.stack:
    name: shop
    files: [shop.yml]
    environment:
      TAG: "1.4"
    replicas: keep
    plan_file: shop.plan.json
  check_mode: true

- name: Remove the stack and wait until its networks are gone
  gpufleet.swarm.stack:
    name: shop
    state: absent
"""

RETURN = r"""
plan:
  description: What differs, in the order it is applied.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(network), V(secret), V(config) or V(service).
      type: str
    name:
      description: Name of the object in the Swarm.
      type: str
    action:
      description: V(create), V(update), V(recreate) or V(remove).
      type: str
    changes:
      description: Fields in Compose words, each with C(path), C(before) and C(after). Secrets are
        fingerprints.
      type: list
      elements: dict
    reasons:
      description: Why, where no field tells it.
      type: list
      elements: str
    tasks:
      description:
        - What happens to the tasks of a service, V(start), V(restart), V(scale), V(place) (moved off nodes
          that no longer fit), V(stay), V(run) (of a job) or V(stop).
      type: str
    diff:
      description: How the content of a config differs from the version it takes the place of, as lines of a
        unified diff. What looks like a password is a fingerprint.
      returned: for a new version of a config
      type: list
      elements: str
  sample:
    - kind: service
      name: shop_web
      action: update
      changes: [{path: services.web.image, before: "shop:1.4", after: "shop:1.5"}]
      reasons: []
      tasks: restart
counts:
  description: Number of objects of the stack by what is planned for them.
  returned: always
  type: dict
  sample: {create: 0, update: 1, recreate: 0, remove: 0, none: 24}
objects:
  description: Every object of the stack with its C(kind), C(name) and C(action), V(none) for those that are
    as wanted.
  returned: always
  type: list
  elements: dict
  sample: [{kind: service, name: shop_db, action: none}, {kind: service, name: shop_web, action: update}]
drift:
  description: What others changed since the last deploy of this module, whatever the file says now. Empty
    where nothing was changed or nothing is known, as for services that another tool deployed.
  returned: always
  type: list
  elements: dict
  contains:
    service:
      description: Name of the service in the Swarm.
      type: str
    fields:
      description: Fields in Compose words, as in RV(plan).
      type: list
      elements: str
    kept:
      description: Those of them that this deploy leaves as they are, for the file wants the same, or because
        they are left to others.
      type: list
      elements: str
    rolled_back:
      description: Whether its version of before was brought back, by Swarm or by hand.
      type: bool
  sample:
    - service: shop_web
      fields: [services.web.deploy.replicas]
      kept: [services.web.deploy.replicas]
      rolled_back: false
actions:
  description: What was done, in sentences.
  returned: always
  type: list
  elements: str
  sample: ["Updated the service shop_web"]
services:
  description: Each service with its C(action), its C(state) (V(running), V(completed), V(unchanged),
    V(removed), V(not waited for), V(failed)) and its C(replicas).
  returned: always
  type: dict
  sample: {shop_web: {action: update, state: running, replicas: 2/2}}
failures:
  description: Services that did not converge, each with C(service), C(reason), C(task), C(node), C(state),
    C(error), C(exit_code), C(log) (its last 20 lines) and C(done) (what was done about it).
  returned: when services did not converge
  type: list
  elements: dict
images:
  description:
    - Which images may be started on which nodes, by their names in the inventory (label C(gpufleet.host)) or,
      without one, their host names. Nodes that are drained, down or do not meet the constraints of a service
      do not count for it.
    - Empty with O(prove_images=never). If it is not empty, nothing was written.
  returned: always
  type: dict
  sample: {gpu1: ["shop:1.5"], gpu2: ["shop:1.5", "shop-db:17"]}
image_names:
  description: The images of all services, as the files name them.
  returned: with O(state=valid)
  type: list
  elements: str
  sample: ["shop:1.5", "shop-db:17"]
claims:
  description: The services that claim cards, each with its claim.
  returned: always
  type: dict
  sample: {shop_llm: exclusive 1 GPU, shop_ocr: shared all 8589934592}
translations:
  description: What was written for Compose and is told to Swarm in other words, each with C(path), C(to) and
    C(note).
  returned: when O(state=present)
  type: list
  elements: dict
ignored:
  description: Keys that have no meaning in a Swarm, each with C(path) and C(reason).
  returned: when O(state=present)
  type: list
  elements: dict
engine:
  description: The API version in use and the number of calls that read and wrote.
  returned: when an Engine answered
  type: dict
  sample: {api_version: "1.45", reads: 6, writes: 0}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import (
    claims,
    images,
    masking,
    observe,
    plan,
    supply,
    wanted,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import engine as engines
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import (
    ARGUMENT_SPEC,
    INTERNAL_SPEC,
)

# The API a prediction is made for where no Engine can be asked: nothing is left out.
_NEWEST_API = (1, 99)


class Predicted(Exception):
    """There is no Swarm to ask. In check mode that is no failure: roles before would have made it."""


def observed(module, desired):
    """Return (Engine or None, state of the stack, warnings)."""
    try:
        try:
            engine = engines.connect(module.params["docker_host"])
        except engines.NoEngine as exc:
            if module.check_mode:
                raise Predicted("no Docker Engine answers") from exc
            raise
        try:
            return engine, observe.observe(engine, module.params["name"], desired), []
        except observe.NoManager as exc:
            if module.check_mode and exc.state == "inactive":
                raise Predicted("the Engine is in no Swarm") from exc
            raise
    except Predicted as reason:
        warning = (
            f"Planned against an empty Swarm, because {reason}; external networks, secrets and configs are "
            "taken to exist."
        )
        return None, observe.empty(), [warning]


def fitted(engine, desired, current, prune):
    """Return (desired, translations, warnings) of a stack whose claims on cards fit what the Swarm has."""
    nodes = observe.nodes(engine) if current["nodes"] is None else current["nodes"]
    desired, translations = claims.fit(desired, nodes)
    if not claims.claimed(desired):
        return desired, translations, []
    others = observe.others(engine, desired["name"])
    if not prune:
        kept = set(current["services"]) - set(desired["services"])
        others |= {name: current["services"][name] for name in kept}
    warnings = claims.check(desired, nodes, others, current["services"])
    for problem in claims.too_old(desired, nodes, lambda image: images.variables(engine, image)):
        raise problem
    return desired, translations, warnings


def needed_images(engine, policy, want, planned):
    """Return which nodes have to have which images before anything is written; {} if nobody asks."""
    if engine is None or policy == "never" or (policy == "changed" and not planned):
        return {}
    return supply.needed(want["services"], planned, observe.nodes(engine), policy == "always")


def carry_out(engine, want, current, planned, params):
    """Carry the plan out. Return (what the result has of it, warnings, the FleetError at its end or None)."""
    have = current["services"]
    if not planned and not any(observe.settling(have[name]) for name in want["services"]):
        services = {
            name: {"action": "none", "state": "unchanged", "replicas": observe.progress(have[name])}
            for name in want["services"]
        }
        return {"services": services}, [], None
    # Where nothing is to do, a fifth of the code stays unread: 0.02 s, as modules arrive without bytecode.
    from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import deploy

    options = deploy.Options(
        wait=params["wait"],
        wait_timeout=params["wait_timeout"],
        on_failure=params["on_failure"],
        registry_logins=tuple(params["registry_logins"]),
    )
    deployment = deploy.Deployment(engine, want, current, planned, options)
    failure, failures = None, {}
    try:
        deployment.run()
    except deploy.DeployError as exc:
        failure, failures = exc, {"failures": exc.details["failures"]}
    except FleetError as exc:
        failure = exc
    done = {"actions": deployment.actions, "services": deployment.outcomes, **failures}
    return done, deployment.warnings, failure


def run(module):
    """Return the result of the module, or fail it."""
    params = module.params
    present = params["state"] == "present"
    if present and params["desired"] is None:
        raise FleetError(
            "The module was called without its action plugin",
            wanted="a task of gpufleet.swarm.stack in a playbook",
        )
    desired = params["desired"] if present else wanted.nothing(params["name"])
    masking.hide(module.no_log_values, params["secret_values"])
    images.check_logins(params["registry_logins"])
    engine, current, warnings = observed(module, desired)
    translations = []
    if engine and present:
        desired, translations, told = fitted(engine, desired, current, params["prune"])
        warnings += told
    want, marked, left_out = wanted.prepare(
        desired, params["secret_values"], engine.api_version if engine else _NEWEST_API
    )
    if engine and present:
        policy, logins = params["resolve_image"], params["registry_logins"]
        warnings += images.resolve(engine, want, marked, current, policy, logins)
    planned = plan.make(
        want,
        marked,
        current,
        prune=params["prune"] or not present,
        keep_versions=params["keep_versions"] if present else 0,
    )
    result = {
        "changed": bool(planned),
        "images": needed_images(engine, params["prove_images"], want, planned) if present else {},
        "plan": planned.as_list(),
        "counts": planned.counts(),
        "objects": planned.objects(),
        "drift": [found.as_dict() for found in planned.drift],
        "claims": claims.claimed(desired),
        **({"translations": translations} if present else {}),
        "actions": [],
        "services": {name: {"action": planned.action("service", name)} for name in want["services"]},
    }
    held = bool(result["images"]) and not module.check_mode
    if held:
        result["changed"] = False
    elif planned and module._diff:
        result["diff"] = {"prepared": planned.text()}
    warnings += left_out + planned.warnings
    # What is left alone is in the result for whoever wants to know; what gets lost is told to everybody.
    warnings += [found.text() for found in planned.drift if set(found.fields) - set(found.kept)]
    failure = None
    if not module.check_mode and not held:
        done, told, failure = carry_out(engine, want, current, planned, params)
        result.update(done)
        warnings += told
    # AnsibleModule would send every argument back, so all that the files say; the action plugin has it.
    result["invocation"] = {}
    if engine:
        version = ".".join(str(part) for part in engine.api_version)
        result["engine"] = {"api_version": version, "reads": engine.reads, "writes": engine.writes}
    for warning in warnings:
        module.warn(warning)
    if failure:
        result["changed"] = bool(result["actions"])
        module.fail_json(msg=str(failure), **result)
    return result


def main():
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={**ARGUMENT_SPEC, **INTERNAL_SPEC}, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except FleetError as exc:
        module.fail_json(msg=str(exc), error=exc.as_result())


if __name__ == "__main__":
    main()
