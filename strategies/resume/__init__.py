"""What a run needs to go on after its process was killed; `strategies.resume.state` says how."""
