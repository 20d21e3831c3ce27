"""A visitor of the page without a browser: the requests that the page's script would send."""

import json
import time

import httpx

SECONDS = 120


class Visitor:
    """An open page, as a program.

    Args:
        url (str): Address of the page.
        name (str): Name that a browser would give to the open page.
        headers (dict, optional): Of every request.
    """

    def __init__(self, url, name='visitor', headers=None):
        self.url, self.name = url, name
        # Proxies of the environment are not for this machine.
        self.client = httpx.Client(
            base_url=f'{url}gradio_api/', timeout=SECONDS, trust_env=False, headers=headers
        )
        self.config = self.client.get(f'{url}config').json()
        dependencies = self.config['dependencies']
        self.events = {each[key]: each for each in dependencies for key in ('api_name', 'id')}
        self.kinds = {part['id']: part['type'] for part in self.config['components']}
        self.parts = {part['id']: part['props'] for part in self.config['components']}
        self.ids = {
            props['elem_id']: key for key, props in self.parts.items() if 'elem_id' in props
        }
        self.values = {key: props.get('value') for key, props in self.parts.items()}

    def set(self, part, value):
        """Change a control, by its id in the page or its label."""
        self.values[self.id_of(part)] = value

    def id_of(self, part):
        """The number of a component, by its number, its id in the page or its label."""
        if part in self.parts:
            return part
        if part in self.ids:
            return self.ids[part]
        return next(key for key, props in self.parts.items() if props.get('label') == part)

    def post(self, event, **event_data):
        """Send an event, by its name or number; return the reply."""
        dependency = self.events[event]
        body = {
            'data': [self.values[each] for each in dependency['inputs']],
            'fn_index': dependency['id'],
            'session_hash': self.name,
            'event_data': event_data or None,
        }
        queued = dependency['queue'] is not False
        return self.client.post('queue/join' if queued else 'run/predict', json=body)

    def send(self, event, **event_data):
        """Send an event and wait for the answer: new values by the id in the page, or label."""
        reply = self.post(event, **event_data)
        if reply.status_code != 200:
            raise AssertionError(f'{event}: {reply.status_code} {reply.text[:300]}')
        answer = reply.json()
        if 'event_id' in answer:
            message = self.wait_for(answer['event_id'])
            if not message.get('success'):
                raise AssertionError(f'{event}: {json.dumps(message)[:600]}')
            answer = message['output']
        outputs = self.events[event]['outputs']
        names = (self.parts[key].get('elem_id') or self.parts[key].get('label') for key in outputs)
        return {
            name or key: value
            for name, key, value in zip(names, outputs, answer['data'], strict=True)
        }

    def wait_for(self, event_id):
        """Wait for the last message about an event."""
        query = {'session_hash': self.name}
        with self.client.stream('GET', 'queue/data', params=query) as stream:
            for line in stream.iter_lines():
                if not line.startswith('data:'):
                    continue
                message = json.loads(line.removeprefix('data:'))
                if message['msg'] == 'process_completed' and message['event_id'] == event_id:
                    return message
        return {}

    def upload(self, content, name='picture.png'):
        """Send a file; return its path on the server."""
        reply = self.client.post('upload', files={'files': (name, content)})
        reply.raise_for_status()
        return reply.json()[0]

    def show(self, path, name='picture.png'):
        """Choose a file that was uploaded as the picture."""
        data = {'path': str(path), 'orig_name': name, 'meta': {'_type': 'gradio.FileData'}}
        self.set('picture-upload', data)
        return self.send('upload')

    def wait_until(self, condition, seconds=20):
        """Wait until a condition holds; return how long it took."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                raise AssertionError('the condition did not come true')
            time.sleep(0.01)
        return time.monotonic() - begin
